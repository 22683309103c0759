# Sourced by the scripts beside it: where CUDA 13's libraries lie, which torch of PyPI needs even on the CPU.

CUDA_LIBRARIES=(libcudart.so.13 libcublas.so.13 libcublasLt.so.13 libcudnn.so.9 libcufft.so.12 libcupti.so.13
  libcusolver.so.12 libcusparse.so.12 libnvrtc.so.13 libnvJitLink.so.13)

cuda_folder() {
  local nvcc
  nvcc=$(command -v nvcc || true)
  printf '%s/lib64' "${CUDA_HOME:-${nvcc:+$(dirname "$(dirname "$(readlink -f "$nvcc")")")}}"
}

library_path() { printf '%s' "$(cuda_folder)${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"; }

has_cuda_libraries() {
  local library loader
  loader=$(ldconfig -p 2>/dev/null || true)
  for library in "${CUDA_LIBRARIES[@]}"; do
    [[ -e $(cuda_folder)/$library || $loader == *"$library "* ]] || return 1
  done
}
