// The objects that libfabric's header calls through: fabric, domain, addresses, completions, endpoint, memory. Each
// leads to its device. Functions that nobody here calls are not there.
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>

#include <cstring>
#include <string>

#include "tests/scrambled/device.h"
#include "tests/scrambled/info.h"

namespace scrambled {
namespace {

// An object of the header's type, which comes first, so that the one is found by the other.
template <class Fid>
struct Object {
  Fid fid{};
  Device* device = nullptr;
};

template <class Fid>
Device& device_of(Fid* fid) {
  return *reinterpret_cast<Object<Fid>*>(fid)->device;
}

template <class Fid>
int close_object(fid* object) {
  delete reinterpret_cast<Object<Fid>*>(object);
  return 0;
}

int close_domain(fid* object) {
  delete &device_of(reinterpret_cast<fid_domain*>(object));
  return close_object<fid_domain>(object);
}

int close_memory(fid* object) {
  auto* const memory = reinterpret_cast<fid_mr*>(object);
  device_of(memory).forget(memory->key);
  return close_object<fid_mr>(object);
}

int bind_nothing(fid*, fid*, uint64_t) { return 0; }  // one of each leads to the same device

int enable(fid* object, int command, void*) {
  if (command != FI_ENABLE) return -FI_ENOSYS;
  Device& device = device_of(reinterpret_cast<fid_ep*>(object));
  if (!device.can_be_enabled()) return -FI_EINVAL;
  device.enabled();
  return 0;
}

int set_option(fid* object, int level, int option, const void* value, size_t bytes) {
  constexpr int kCudaApiPermitted = 10;  // as later headers have it
  if (level != FI_OPT_ENDPOINT || option != kCudaApiPermitted || bytes != sizeof(bool)) return -FI_ENOPROTOOPT;
  return device_of(reinterpret_cast<fid_ep*>(object)).permit_cuda(*static_cast<const bool*>(value));
}

int wait_descriptor(fid* object, int command, void* descriptor) {
  if (command != FI_GETWAIT) return -FI_ENOSYS;
  *static_cast<int*>(descriptor) = device_of(reinterpret_cast<fid_cq*>(object)).wait_descriptor();
  return 0;
}

// `Calls` are the common ones of its kind.
template <class Fid>
Object<Fid>* make(Device* device, fi_ops& calls) {
  auto* const object = new Object<Fid>;
  object->fid.fid.ops = &calls;
  object->device = device;
  return object;
}

fi_ops common(int (*close)(fid*), int (*control)(fid*, int, void*) = nullptr) {
  fi_ops calls{};
  calls.size = sizeof(calls);
  calls.close = close;
  calls.bind = bind_nothing;
  calls.control = control;
  return calls;
}

int insert(fid_av* table, const void* name, size_t count, fi_addr_t* inserted, uint64_t, void*) {
  if (count != 1) return -FI_ENOSYS;
  *inserted = device_of(table).add_reader(std::string(static_cast<const char*>(name), kNameBytes));
  return 1;
}

int open_table(fid_domain* domain, fi_av_attr*, fid_av** table, void*) {
  static fi_ops calls = common(close_object<fid_av>);
  static fi_ops_av own = [] {
    fi_ops_av own{};
    own.insert = insert;
    return own;
  }();
  *table = &make<fid_av>(&device_of(domain), calls)->fid;
  (*table)->ops = &own;
  return 0;
}

int open_queue(fid_domain* domain, fi_cq_attr*, fid_cq** queue, void*) {
  static fi_ops calls = common(close_object<fid_cq>, wait_descriptor);
  static fi_ops_cq own = [] {
    fi_ops_cq own{};
    own.read = [](fid_cq* queue, void* entries, size_t count) {
      return device_of(queue).read(static_cast<fi_cq_entry*>(entries), count);
    };
    own.readerr = [](fid_cq* queue, fi_cq_err_entry* entry, uint64_t) { return device_of(queue).read_error(*entry); };
    return own;
  }();
  *queue = &make<fid_cq>(&device_of(domain), calls)->fid;
  (*queue)->ops = &own;
  return 0;
}

int own_name(fid* endpoint, void* name, size_t* bytes) {
  if (*bytes < kNameBytes) return -FI_ETOOSMALL;
  *bytes = kNameBytes;
  std::memcpy(name, device_of(reinterpret_cast<fid_ep*>(endpoint)).name().data(), kNameBytes);
  return 0;
}

int open_endpoint(fid_domain* domain, fi_info*, fid_ep** endpoint, void*) {
  static fi_ops calls = common(close_object<fid_ep>, enable);
  static fi_ops_ep options = [] {
    fi_ops_ep own{};
    own.setopt = set_option;
    return own;
  }();
  static fi_ops_cm connections = [] {
    fi_ops_cm own{};
    own.getname = own_name;
    return own;
  }();
  static fi_ops_rma remote = [] {
    fi_ops_rma own{};
    own.writemsg = [](fid_ep* endpoint, const fi_msg_rma* message, uint64_t flags) {
      return device_of(endpoint).write(*message, flags);
    };
    return own;
  }();
  *endpoint = &make<fid_ep>(&device_of(domain), calls)->fid;
  (*endpoint)->ops = &options;
  (*endpoint)->cm = &connections;
  (*endpoint)->rma = &remote;
  return 0;
}

int enroll_with(fid* domain, const fi_mr_attr* attr, uint64_t flags, fid_mr** memory) {
  static fi_ops calls = common(close_memory);
  Device& device = device_of(reinterpret_cast<fid_domain*>(domain));
  uint64_t key = 0;
  if (const int code = device.enroll(*attr, flags, key); code != 0) return code;
  *memory = &make<fid_mr>(&device, calls)->fid;
  (*memory)->key = key;
  (*memory)->mem_desc = const_cast<Registration*>(device.enrolled((*memory)->key));
  return 0;
}

int enroll(fid* domain, const void* at, size_t bytes, uint64_t access, uint64_t, uint64_t key, uint64_t flags,
           fid_mr** memory, void*) {
  const iovec part{const_cast<void*>(at), bytes};
  fi_mr_attr attr{};
  attr.mr_iov = &part;
  attr.iov_count = 1;
  attr.access = access;
  attr.requested_key = key;
  return enroll_with(domain, &attr, flags, memory);
}

int open_domain(fid_fabric*, fi_info* info, fid_domain** domain, void*) {
  static fi_ops calls = common(close_domain);
  static fi_ops_domain own = [] {
    fi_ops_domain own{};
    own.av_open = open_table;
    own.cq_open = open_queue;
    own.endpoint = open_endpoint;
    return own;
  }();
  static fi_ops_mr memory = [] {
    fi_ops_mr own{};
    own.reg = enroll;
    own.regattr = enroll_with;
    return own;
  }();
  *domain = &make<fid_domain>(new Device(info->fabric_attr->prov_name, (info->caps & FI_HMEM) != 0), calls)->fid;
  (*domain)->ops = &own;
  (*domain)->mr = &memory;
  return 0;
}

int may_wait(fid_fabric*, fid** waited, int count) {
  return count == 1 ? device_of(reinterpret_cast<fid_cq*>(waited[0])).may_wait() : -FI_ENOSYS;
}

}  // namespace
}  // namespace scrambled

extern "C" int fi_fabric(fi_fabric_attr*, fid_fabric** fabric, void*) {
  using namespace scrambled;
  static fi_ops calls = common(close_object<fid_fabric>);
  static fi_ops_fabric own = [] {
    fi_ops_fabric own{};
    own.domain = open_domain;
    own.trywait = may_wait;
    return own;
  }();
  *fabric = &make<fid_fabric>(nullptr, calls)->fid;
  (*fabric)->ops = &own;
  return 0;
}
