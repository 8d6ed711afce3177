#include "fault.h"

#include <cstdarg>
#include <cstdio>
#include <vector>

namespace standin {

ResultText result_text(int code) {
  switch (code) {
    case kSuccess: return {"CUDA_SUCCESS", "no error"};
    case kInvalidValue: return {"CUDA_ERROR_INVALID_VALUE", "invalid argument"};
    case kOutOfMemory: return {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"};
    case kNotInitialized: return {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"};
    case kInvalidDevice: return {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"};
    case kInvalidContext: return {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"};
    case kAlreadyMapped: return {"CUDA_ERROR_ALREADY_MAPPED", "already mapped"};
    case kNoBinaryForGpu: return {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for this device"};
    case kInvalidPtx: return {"CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"};
    case kUnsupportedPtxVersion:
      return {"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", "the PTX was compiled with an unsupported toolchain"};
    case kInvalidHandle: return {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"};
    case kNotFound: return {"CUDA_ERROR_NOT_FOUND", "named symbol not found"};
    case kNotReady: return {"CUDA_ERROR_NOT_READY", "device not ready"};
    case kIllegalAddress: return {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"};
    case kLaunchOutOfResources:
      return {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"};
    case kLaunchTimeout: return {"CUDA_ERROR_LAUNCH_TIMEOUT", "the launch timed out and was terminated"};
    case kHostMemoryAlreadyRegistered:
      return {"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the memory is already registered"};
    case kHostMemoryNotRegistered:
      return {"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region"};
    case kIllegalInstruction: return {"CUDA_ERROR_ILLEGAL_INSTRUCTION", "an illegal instruction was encountered"};
    case kMisalignedAddress: return {"CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"};
    case kInvalidAddressSpace:
      return {"CUDA_ERROR_INVALID_ADDRESS_SPACE", "operation not supported on this address space"};
    case kLaunchFailed: return {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"};
    case kNotSupported: return {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"};
    case kStreamCaptureUnsupported:
      return {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"};
    case kStreamCaptureInvalidated:
      return {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"};
    case kStreamCaptureUnmatched:
      return {"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "operation would result in a merge of separate captures"};
    case kStreamCaptureUnjoined:
      return {"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"};
    case kStreamCaptureIsolation:
      return {"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"};
    case kStreamCaptureImplicit:
      return {"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capture"};
    default: return {nullptr, nullptr};
  }
}

std::string format(const char* pattern, ...) {
  va_list args;
  va_start(args, pattern);
  va_list again;
  va_copy(again, args);
  const int size = std::vsnprintf(nullptr, 0, pattern, args);
  va_end(args);
  std::vector<char> buffer(static_cast<size_t>(size) + 1);
  std::vsnprintf(buffer.data(), buffer.size(), pattern, again);
  va_end(again);
  return {buffer.data(), static_cast<size_t>(size)};
}

}  // namespace standin
