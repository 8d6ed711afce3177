// The one card of the process: its memory and its error state.
#pragma once

#include <string>

#include "card.h"
#include "device_memory.h"
#include "fault.h"

namespace standin {

struct Device {
  DeviceMemory memory;
  Result sticky = kSuccess;    // a kernel's fault: every later call fails with it until the context is destroyed
  std::string last_fault;      // its text, or that of the last failed call
};

Device& device();

}  // namespace standin
