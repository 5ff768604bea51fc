/** The CUDA backend: memory, launches and operations on one NVIDIA GPU. Nothing outside sees JCuda or JavaCPP types. */
@NullMarked
package io.fourfold.kernels.cuda;

import org.jspecify.annotations.NullMarked;
