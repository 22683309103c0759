// The order of providers: one that the user named, else real RDMA, else TCP.
#include "transport/scaleout/libfabric/provider.h"

#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include <transload/status.h>

#include "os/fork.h"

namespace transload {
namespace {

const char* const kTcp = "tcp;ofi_rxm";
const size_t kOrderedBytesLeast = 4096;  // a provider that orders only shorter writes counts as one that orders none

// These never carry a group: TCP serves better, they hang, or they reach no other machine.
bool refused(const std::string& name) {
  for (const char* const part : {"sockets", "udp", "UDP", "shm", "sm2", "ofi_rxd", "ofi_hook"})
    if (name.find(part) != std::string::npos) return true;
  return false;
}

int preference(const std::string& name) {
  const char* const best_first[] = {"cxi", "efa", "verbs;ofi_rxm", "opx", "psm2", kTcp, "tcp"};
  const auto found = std::find(std::begin(best_first), std::end(best_first), name);
  return static_cast<int>(found - std::begin(best_first));
}

struct Query {
  uint32_t ranks;
  std::string provider = "";  // "": any provider
  std::string source = "";    // "": any address
  bool in_order = false;
  bool delivery = false;
  bool hmem = false;
};

// The version of libfabric's interface to ask for. Dma-bufs are taken only from a caller that asks for 1.20.
uint32_t version_to_ask(bool hmem) {
  const uint32_t header = FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION), with_dma_bufs = FI_VERSION(1, 20);
  return hmem && std::min(header, fabric_library().version()) >= with_dma_bufs ? with_dma_bufs : FI_VERSION(1, 17);
}

// The process that asked libfabric first: some providers refuse its copies.
const Origin& first_to_ask() {
  static const Origin first;
  return first;
}

std::string no_provider() {
  return std::string("libfabric has no provider for remote writes here") +
         (first_to_ask().here() ? "" : ", in a copy (fork) of a process that has asked it");
}

InfoPtr ask(const Query& query) {
  first_to_ask();
  const FabricLibrary& library = fabric_library();
  tell_universe(query.ranks);
  InfoPtr hints(library.dupinfo(nullptr));
  if (hints == nullptr) throw Error(Code::kOutOfMemory, "libfabric: no memory is left for a request");
  hints->caps = FI_MSG | FI_RMA;
  hints->mode = FI_CONTEXT | FI_CONTEXT2;
  hints->ep_attr->type = FI_EP_RDM;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_VIRT_ADDR | FI_MR_ALLOCATED | FI_MR_PROV_KEY | FI_MR_ENDPOINT;
  hints->domain_attr->threading = FI_THREAD_DOMAIN;
  hints->domain_attr->control_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->data_progress = FI_PROGRESS_MANUAL;
  hints->domain_attr->resource_mgmt = FI_RM_ENABLED;
  if (query.hmem) {
    hints->caps |= FI_HMEM;
    hints->domain_attr->mr_mode |= FI_MR_HMEM;
  }
  if (query.in_order) hints->tx_attr->msg_order = FI_ORDER_WAW | FI_ORDER_RMA_WAW;
  if (query.delivery) hints->tx_attr->op_flags = FI_DELIVERY_COMPLETE;
  if (!query.provider.empty()) hints->fabric_attr->prov_name = strdup(query.provider.c_str());
  const bool bound = !query.source.empty();
  fi_info* found = nullptr;
  const char* const node = bound ? query.source.c_str() : nullptr;
  library.getinfo(version_to_ask(query.hmem), node, nullptr, bound ? FI_SOURCE : 0, hints.get(), &found);
  return InfoPtr(found);
}

// Some providers put a word of their own after the NIC's name: "rdmap16s27-rdm".
bool is_on(const fi_info& info, const std::string& nic) {
  const std::string domain = info.domain_attr->name == nullptr ? "" : info.domain_attr->name;
  return nic.empty() || domain == nic || domain.rfind(nic + "-", 0) == 0;
}

// The first answer that is exactly this provider, on this NIC: a name may also match others that are layered on it.
const fi_info* exactly(const InfoPtr& list, const std::string& provider, const std::string& nic) {
  const fi_info* info = list.get();
  while (info != nullptr && (provider != info->fabric_attr->prov_name || !is_on(*info, nic))) info = info->next;
  return info;
}

InfoPtr copy_of(const fi_info* info) { return InfoPtr(fabric_library().dupinfo(info)); }

Provider in_order(const fi_info* info) {
  const size_t ordered = info->ep_attr->max_order_waw_size;
  const bool granted = (info->tx_attr->msg_order & (FI_ORDER_WAW | FI_ORDER_RMA_WAW)) != 0;
  if (!granted || ordered < kOrderedBytesLeast) return {};
  return {.info = copy_of(info),
          .ordered = true,
          .piece_bytes = std::min(info->ep_attr->max_msg_size, ordered),
          .caution = ""};
}

// Why completions of TCP's provider may speak of bytes that are only staged, as fabric_stages() says; else "".
std::string caution_of(const std::string& provider) {
  return provider.find("tcp") != std::string::npos ? fabric_stages() : "";
}

Provider find_at(const std::string& source, const std::string& name, const LibfabricOptions& options, bool hmem) {
  const std::string caution = caution_of(name);
  Query query{.ranks = options.ranks, .provider = name, .source = source, .in_order = true, .hmem = hmem};
  if (!options.assume_unordered && caution.empty()) {
    const InfoPtr list = ask(query);
    if (const fi_info* const info = exactly(list, name, options.nic)) {
      Provider chosen = in_order(info);
      chosen.hmem = hmem;
      if (chosen.info != nullptr) return chosen;
    }
  }
  query.in_order = false;
  query.delivery = true;
  const InfoPtr list = ask(query);
  const fi_info* const info = exactly(list, name, options.nic);
  if (info == nullptr) return {};
  return {.info = copy_of(info),
          .ordered = false,
          .piece_bytes = info->ep_attr->max_msg_size,
          .caution = caution,
          .by_hand = info->domain_attr->data_progress == FI_PROGRESS_MANUAL,
          .hmem = hmem};
}

Provider find_at(const std::string& source, const std::string& name, const LibfabricOptions& options) {
  if (options.device.cuda >= 0)
    if (Provider with_hmem = find_at(source, name, options, true); with_hmem.info != nullptr) return with_hmem;
  return find_at(source, name, options, false);
}

// In a copy (fork) of the process that asked first, a NIC is listed, opens, and then refuses all that it is asked.
void need_original(const std::string& name) {
  if (first_to_ask().here() || !lands_silently(name)) return;
  throw Error(Code::kNotSupported, "provider = \"" + name + "\": this is a copy (fork) of a process that has asked " +
                                       "libfabric, and a NIC serves the original alone");
}

// The layer over a NIC's queues sizes them by FI_UNIVERSE_SIZE. With more ranks they overrun, and all wait for ever.
void need_universe(const std::string& name, uint32_t ranks) {
  const size_t told = tell_universe(ranks);
  if (ranks <= told || !lands_silently(name) || name.find("ofi_rxm") == std::string::npos) return;
  throw Error(Code::kNotSupported,
              "provider = \"" + name + "\": libfabric was told of " + std::to_string(told) +
                  " ranks, by FI_UNIVERSE_SIZE or by the first group of this process, and this group has " +
                  std::to_string(ranks) + " (start the program with FI_UNIVERSE_SIZE=" + std::to_string(ranks) + ")");
}

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "\"" : ", \"") + name + "\"";
  return text.empty() ? "none" : text;
}

std::string domains_of(const std::string& provider, uint32_t ranks) {
  std::vector<std::string> names;
  const InfoPtr list = ask({.ranks = ranks, .provider = provider});
  for (const fi_info* info = list.get(); info != nullptr; info = info->next)
    if (provider == info->fabric_attr->prov_name) names.emplace_back(info->domain_attr->name);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return listed(names);
}

}  // namespace

bool libfabric_available(uint32_t ranks, std::string& why) {
  if (fabric_library(why) == nullptr) return false;
  if (!libfabric_providers(ranks).empty()) return true;
  why = no_provider();
  return false;
}

std::vector<std::string> libfabric_providers(uint32_t ranks) {
  std::string why;
  std::vector<std::string> names;
  if (fabric_library(why) == nullptr) return names;
  const InfoPtr list = ask({.ranks = ranks});
  for (const fi_info* info = list.get(); info != nullptr; info = info->next) {
    const std::string name = info->fabric_attr->prov_name;
    if (!refused(name) && std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  std::stable_sort(names.begin(), names.end(),
                   [](const std::string& a, const std::string& b) { return preference(a) < preference(b); });
  return names;
}

std::string libfabric_version() {
  const uint32_t version = fabric_library().version();
  return std::to_string(FI_MAJOR(version)) + "." + std::to_string(FI_MINOR(version));
}

std::vector<std::string> candidates(const LibfabricOptions& options) {
  std::string why;
  if (fabric_library(why) == nullptr) throw Error(Code::kNotSupported, "libfabric is not available: " + why);
  const std::vector<std::string> names = libfabric_providers(options.ranks);
  if (names.empty()) throw Error(Code::kNotSupported, no_provider());
  if (options.provider.empty()) return names;
  if (std::find(names.begin(), names.end(), options.provider) == names.end())
    throw Error(Code::kInvalidArgument,
                "provider = \"" + options.provider + "\": must be one that can carry a group here: " + listed(names));
  return {options.provider};
}

bool lands_silently(const std::string& name) {
  return name.find("tcp") == std::string::npos && name != "net" && name != "net;ofi_rxm";
}

Provider find_provider(const std::string& name, const LibfabricOptions& options) {
  need_original(name);
  need_universe(name, options.ranks);
  const std::string& source = options.source_address;
  Provider here = find_at(source, name, options);
  if (here.info != nullptr) return here;
  Provider anywhere = find_at("", name, options);
  // The address is that of the control network, which an RDMA device need not own.
  if (anywhere.info != nullptr && preference(name) < preference(kTcp)) return anywhere;
  if (!options.nic.empty()) {
    LibfabricOptions on_any = options;
    on_any.nic.clear();
    Provider without = find_provider(name, on_any);
    if (!options.nic_asked_for) return without;
    throw Error(Code::kInvalidArgument, "nic = \"" + options.nic + "\": provider \"" + name +
                                            "\" does not have it, but has " + domains_of(name, options.ranks));
  }
  if (anywhere.info != nullptr)
    throw Error(Code::kInvalidArgument,
                "source_address = \"" + source + "\": provider \"" + name + "\" has no interface there");
  throw Error(Code::kInvalidArgument,
              "provider = \"" + name + "\": libfabric lists it, but does not find it when asked for it by name");
}

}  // namespace transload
