package io.fourfold.kernels.cuda;

/** A CUDA call failed or the GPU cannot be used. The message says what, where, the likely cause and what to do. */
public final class CudaException extends RuntimeException {
    private static final long serialVersionUID = 1;

    public CudaException(String message) {
        super(message);
    }

    public CudaException(String message, Throwable cause) {
        super(message, cause);
    }
}
