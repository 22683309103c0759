// Providers: as many as the settings list, all with the same attributes, which are those of a network without order.
// Like libfabric it reads its environment at the first question, and like verbs it refuses copies of the process that
// asked it.
#include "tests/scrambled/info.h"

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_errno.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/scrambled/settings.h"

namespace scrambled {
namespace {

struct FirstQuestion {
  pid_t process = getpid();
  size_t universe = 256;
  FirstQuestion() {
    if (const char* const said = std::getenv("FI_UNIVERSE_SIZE")) universe = std::strtoull(said, nullptr, 0);
  }
};

const FirstQuestion& first_question() {
  static const FirstQuestion question;
  return question;
}

template <class Part>
Part* fresh() {
  return static_cast<Part*>(std::calloc(1, sizeof(Part)));
}

template <class Part>
Part* copy_of(const Part* part) {
  Part* const copy = fresh<Part>();
  if (part != nullptr) *copy = *part;
  return copy;
}

char* copy_of_text(const char* text) { return text == nullptr ? nullptr : strdup(text); }

fi_info* describe(const std::string& provider, const std::string& nic, bool hmem) {
  fi_info* const info = fi_dupinfo(nullptr);
  info->caps = FI_MSG | FI_RMA | FI_WRITE | FI_REMOTE_WRITE;
  info->addr_format = FI_ADDR_STR;
  info->ep_attr->type = FI_EP_RDM;
  info->ep_attr->max_msg_size = kWriteMost;
  info->tx_attr->size = kWritesMost;
  info->rx_attr->size = kWritesMost;
  info->domain_attr->name = strdup(nic.c_str());
  info->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY;
  info->domain_attr->mr_key_size = 8;
  if (hmem) {
    info->caps |= FI_HMEM;
    info->domain_attr->mr_mode |= FI_MR_HMEM;
  }
  info->domain_attr->threading = FI_THREAD_DOMAIN;
  info->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  info->fabric_attr->name = strdup("scrambled");
  info->fabric_attr->prov_name = strdup(provider.c_str());
  return info;
}

bool is_here(const char* node) {
  return node == nullptr || std::strncmp(node, "127.", 4) == 0 || std::strcmp(node, "::1") == 0;
}

bool asks_for_hmem(const fi_info* hints) { return hints != nullptr && (hints->caps & FI_HMEM) != 0; }

// Whether this provider may answer. No order is granted to whoever asks for one.
bool answers(const std::string& provider, const char* node, const fi_info* hints) {
  if (!is_here(node)) return false;
  if (hints == nullptr) return true;
  if (hints->tx_attr != nullptr && hints->tx_attr->msg_order != 0) return false;
  const bool able = hints->domain_attr != nullptr && (hints->domain_attr->mr_mode & FI_MR_HMEM) != 0;
  if (asks_for_hmem(hints) && (settings().gpu < 0 || !able)) return false;
  const char* const asked = hints->fabric_attr == nullptr ? nullptr : hints->fabric_attr->prov_name;
  return asked == nullptr || (provider == asked && !names(settings().shut, provider));
}

}  // namespace

size_t universe() { return first_question().universe; }

}  // namespace scrambled

// The symbols of libfabric, as its header declares them.
extern "C" {

int fi_getinfo(uint32_t version, const char* node, const char*, uint64_t, const fi_info* hints, fi_info** list) {
  using namespace scrambled;
  *list = nullptr;
  if (version > fi_version()) return -FI_ENOSYS;
  if (getpid() != first_question().process && !settings().copies) return -FI_ENODATA;
  fi_info** last = list;
  for (const std::string& provider : settings().list)
    for (const std::string& nic : settings().nics)
      if (answers(provider, node, hints)) {
        *last = describe(provider, nic, asks_for_hmem(hints));
        last = &(*last)->next;
      }
  return *list == nullptr ? -FI_ENODATA : 0;
}

fi_info* fi_dupinfo(const fi_info* info) {
  using namespace scrambled;
  fi_info* const copy = copy_of(info);
  copy->next = nullptr;
  copy->src_addr = copy->dest_addr = nullptr;
  copy->tx_attr = copy_of(info == nullptr ? nullptr : info->tx_attr);
  copy->rx_attr = copy_of(info == nullptr ? nullptr : info->rx_attr);
  copy->ep_attr = copy_of(info == nullptr ? nullptr : info->ep_attr);
  copy->domain_attr = copy_of(info == nullptr ? nullptr : info->domain_attr);
  copy->domain_attr->name = copy_of_text(copy->domain_attr->name);
  copy->fabric_attr = copy_of(info == nullptr ? nullptr : info->fabric_attr);
  copy->fabric_attr->name = copy_of_text(copy->fabric_attr->name);
  copy->fabric_attr->prov_name = copy_of_text(copy->fabric_attr->prov_name);
  return copy;
}

void fi_freeinfo(fi_info* info) {
  while (info != nullptr) {
    fi_info* const next = info->next;
    std::free(info->domain_attr->name);
    std::free(info->fabric_attr->name);
    std::free(info->fabric_attr->prov_name);
    std::free(info->tx_attr);
    std::free(info->rx_attr);
    std::free(info->ep_attr);
    std::free(info->domain_attr);
    std::free(info->fabric_attr);
    std::free(info);
    info = next;
  }
}

uint32_t fi_version() {
  const uint32_t said = scrambled::settings().version;
  return said != 0 ? said : FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION);
}

const char* fi_strerror(int code) { return std::strerror(code); }
}
