package io.fourfold.bench.operations;

/** What {@code fourfold bench --operations} takes. */
public enum OperationGroup {
    /** Dense BF16 products. */
    GEMM,
    /** Products of the experts, even and skewed. */
    GROUPED,
    ATTENTION,
    /** NVFP4 operands. */
    QUANTIZE,
    /** The optimizer and the gradient norm. */
    ADAMW,
    /** RMSNorm and SwiGLU. */
    NORM,
    /** The output head with cross-entropy. */
    LOSS,
    /** Rows to experts and back. */
    PERMUTE,
    /** Collectives of several GPUs beside NCCL's own; not among {@link #ALL}. */
    COLLECTIVES,
    ALL
}
