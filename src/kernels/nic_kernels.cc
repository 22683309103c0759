// Whether there are kernels that drive a NIC.
#include "kernels/nic_kernels.h"

namespace transload {

const NicKernels* nic_kernels() {
#ifdef TRANSLOAD_NVSHMEM
  static const NicKernels kernels{role_kernels<IbgdaRail>(),
                                  launch_hello,
                                  prepare_hello,
                                  {ibgda_hello(), ibgda_notify(), ibgda_dispatch(), ibgda_combine()}};
  return &kernels;
#else
  return nullptr;
#endif
}

}  // namespace transload
