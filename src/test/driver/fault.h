// What goes wrong: the driver's result codes, and the exception that carries one with a readable reason.
#pragma once

#include <stdexcept>
#include <string>

#include "types.h"

namespace standin {

// The values of CUresult that this driver returns (cuda.h).
enum Result : int {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kInvalidDevice = 101,
  kInvalidContext = 201,
  kUnsupportedPtxVersion = 222,
  kInvalidPtx = 218,
  kNoBinaryForGpu = 209,
  kAlreadyMapped = 208,
  kInvalidHandle = 400,
  kNotFound = 500,
  kNotReady = 600,
  kIllegalAddress = 700,
  kLaunchOutOfResources = 701,
  kLaunchTimeout = 702,
  kHostMemoryAlreadyRegistered = 712,
  kHostMemoryNotRegistered = 713,
  kIllegalInstruction = 715,
  kMisalignedAddress = 716,
  kInvalidAddressSpace = 717,
  kLaunchFailed = 719,
  kNotSupported = 801,
  kStreamCaptureUnsupported = 900,
  kStreamCaptureInvalidated = 901,
  kStreamCaptureUnmatched = 903,
  kStreamCaptureUnjoined = 904,
  kStreamCaptureIsolation = 905,
  kStreamCaptureImplicit = 906,
};

struct ResultText {
  const char* name;
  const char* text;
};

// The driver's name and sentence for a code; {nullptr, nullptr} for a code it does not have.
ResultText result_text(int code);

// Thrown where the fault is found, turned into its code at the API; lane is -1 where no thread is to blame.
class Fault : public std::runtime_error {
 public:
  Fault(Result code, const std::string& what, int lane = -1)
      : std::runtime_error(what), code_(code), lane_(lane) {}
  Result code() const { return code_; }
  int lane() const { return lane_; }

 private:
  Result code_;
  int lane_;
};

// printf into a string.
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

}  // namespace standin
