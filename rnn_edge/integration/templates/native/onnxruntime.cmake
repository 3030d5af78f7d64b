# The target `onnxruntime`: from -DONNXRUNTIME_DIR=FOLDER, which holds include/ and lib/ as the
# releases of ONNX Runtime do, else from pkg-config (libonnxruntime.pc).
if(ONNXRUNTIME_DIR)
  find_path(ONNXRUNTIME_INCLUDE onnxruntime_c_api.h
    PATHS ${ONNXRUNTIME_DIR}/include ${ONNXRUNTIME_DIR}/include/onnxruntime
    NO_DEFAULT_PATH REQUIRED)
  find_library(ONNXRUNTIME_LIBRARY onnxruntime
    PATHS ${ONNXRUNTIME_DIR}/lib NO_DEFAULT_PATH REQUIRED)
  add_library(onnxruntime INTERFACE)
  target_include_directories(onnxruntime SYSTEM INTERFACE ${ONNXRUNTIME_INCLUDE})
  target_link_libraries(onnxruntime INTERFACE ${ONNXRUNTIME_LIBRARY})
else()
  find_package(PkgConfig REQUIRED)
  pkg_check_modules(ONNXRUNTIME REQUIRED IMPORTED_TARGET libonnxruntime)
  add_library(onnxruntime ALIAS PkgConfig::ONNXRUNTIME)
endif()
