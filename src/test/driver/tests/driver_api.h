// The entry points of the driver that the tests call, as cuda.h declares them; pointers to handles are void*.
#pragma once

#include "types.h"

extern "C" {
int standin_configure(const char* settings);
void standin_reset();
long long standin_counter(const char* name);
const char* standin_last_fault();

int cuInit(unsigned flags);
int cuCtxCreate_v2(void** context, unsigned flags, int device);
int cuCtxDestroy_v2(void* context);
int cuCtxSynchronize();
int cuGetErrorName(int code, const char** name);

int cuMemAlloc_v2(standin::u64* address, size_t bytes);
int cuMemFree_v2(standin::u64 address);
int cuMemcpyHtoD_v2(standin::u64 to, const void* from, size_t bytes);
int cuMemcpyDtoH_v2(void* to, standin::u64 from, size_t bytes);
int cuMemcpyHtoDAsync_v2(standin::u64 to, const void* from, size_t bytes, void* stream);
int cuMemcpyDtoHAsync_v2(void* to, standin::u64 from, size_t bytes, void* stream);
int cuMemsetD32Async(standin::u64 to, standin::u32 value, size_t count, void* stream);
int cuMemHostAlloc(void** host, size_t bytes, unsigned flags);
int cuMemFreeHost(void* host);
int cuMemHostRegister_v2(void* host, size_t bytes, unsigned flags);
int cuMemHostUnregister(void* host);

int cuModuleLoadData(void** module, const void* image);
int cuModuleLoadDataEx(void** module, const void* image, unsigned count, int* options, void** values);
int cuModuleUnload(void* module);
int cuModuleGetFunction(void** function, void* module, const char* name);
int cuModuleGetGlobal_v2(standin::u64* address, size_t* bytes, void* module, const char* name);
int cuFuncGetAttribute(int* value, int which, void* function);
int cuFuncSetAttribute(void* function, int which, int value);
int cuLaunchKernel(void* function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned shared, void* stream, void** arguments, void** extra);

int cuStreamCreate(void** stream, unsigned flags);
int cuStreamDestroy_v2(void* stream);
int cuStreamSynchronize(void* stream);
int cuStreamQuery(void* stream);
int cuStreamWaitEvent(void* stream, void* event, unsigned flags);
int cuStreamBeginCapture_v2(void* stream, int mode);
int cuStreamEndCapture(void* stream, void** graph);
int cuStreamGetCaptureInfo_v2(void* stream, int* status, standin::u64* id, void** graph, void* const** dependencies,
                              size_t* count);
int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags);
int cuGraphLaunch(void* executable, void* stream);
int cuGraphExecKernelNodeSetParams(void* executable, void* node, const void* parameters);
int cuGraphExecDestroy(void* executable);
int cuGraphDestroy(void* graph);
int cuEventCreate(void** event, unsigned flags);
int cuEventDestroy_v2(void* event);
int cuEventRecord(void* event, void* stream);
int cuEventSynchronize(void* event);
int cuEventQuery(void* event);
int cuEventElapsedTime(float* milliseconds, void* start, void* end);
}
