// Tries registrations on an endpoint that is closed again. The link opens another one, with what was found.
#include "transport/scaleout/libfabric/try_region.h"

#include <memory>
#include <utility>

#include <transload/status.h>

#include "transport/scaleout/libfabric/endpoint.h"

namespace transload {
namespace {

constexpr size_t kCompletions = 16;  // few, because nothing is written

// An endpoint of the first provider that opens, as a link takes it.
std::unique_ptr<FabricEndpoint> open_best(const LibfabricOptions& options) {
  std::string why;
  for (const std::string& name : candidates(options)) try {
      return std::make_unique<FabricEndpoint>(find_provider(name, options), options.source_address, kCompletions);
    } catch (const Error& error) {
      why += (why.empty() ? "" : "; ") + std::string(error.what());
    }
  throw Error(Code::kNotSupported, why);
}

// Why the endpoint does not register the region; "" if it does.
std::string refusal(FabricEndpoint& endpoint, const LibfabricOptions& options) {
  try {
    endpoint.enroll({options.region, options.region_bytes, options.device}, FI_WRITE | FI_REMOTE_WRITE);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace

RegionChoice try_region(LibfabricOptions options, const DeviceInfo& gpu,
                        const std::function<void(RegionPlace, LibfabricOptions&)>& place) {
  options.device = {.cuda = gpu.device};
  const std::unique_ptr<FabricEndpoint> endpoint = open_best(options);
  FabricMemoryFacts facts{.provider = endpoint->provider_name(),
                          .hmem = endpoint->provider().hmem,
                          .library_version = fabric_library().version(),
                          .header_version = FI_VERSION(FI_MAJOR_VERSION, FI_MINOR_VERSION),
                          .cuda_calls = endpoint->cuda_calls(),
                          .dma_buf_refused = "",
                          .address_refused = ""};
  for (;;) {
    const RegionChoice choice = choose_region(facts, gpu);
    if (choice.place == RegionPlace::kPinned) return choice;
    place(choice.place, options);
    const std::string why = refusal(*endpoint, options);
    if (why.empty()) return choice;
    (choice.place == RegionPlace::kDmaBuf ? facts.dma_buf_refused : facts.address_refused) = why;
  }
}

}  // namespace transload
