package io.fourfold.config;

/** How gradients are summed over data parallel ranks, and weights come back. */
public record GradientConfig(
        @Setting(
                doc = "Sum gradients while the rest of the backward pass still computes, and gather updated weights"
                        + " while others are updated. Same bits, but for FP32 sums over more than two GPUs, which have the"
                        + " order of the ranks with it and NCCL's without."
                        + " Faster between GPUs. CPU ranks overlap when they are threads of one process; others"
                        + " communicate afterwards as without it.",
                value = "false")
        boolean overlap,

        @Setting(
                doc =
                        "Largest part of the gradients that is communicated at once, in MiB of FP32; 0 = 64 for each rank that"
                                + " shares it. GPUs of a host copy parts of 4 MiB or more without NCCL: n ranks need 8 n here, for weights"
                                + " come back in BF16.",
                value = "0",
                min = 0)
        int bucketMib,

        @Setting(
                doc = "Format of gradients on their way: fp32; bf16 for half the bytes, with an error of up to 2^-8 of"
                        + " the sum of the addends' magnitudes; fp8 for a quarter, with 2^-4 of it.",
                value = "fp32")
        GradientFormat format,

        @Setting(
                doc = "How updated weights come back: exact (as they are), or nvfp4: codes of the weights that recipe"
                        + " nvfp4 quantizes in 16x16 blocks, for an eighth of the bytes and the same results.",
                value = "exact")
        WeightFormat weights) {
    /** Everything at once after backward, exactly. */
    public static final GradientConfig PLAIN = new GradientConfig(false, 0, GradientFormat.FP32, WeightFormat.EXACT);

    /** What {@link #bucketElements} is when it depends on the number of ranks. */
    public static final long BY_RANKS = 0;

    /** Largest number of gradients that are communicated at once: a bucket of them with overlap, else all. */
    public long bucketElements() {
        return overlap ? ((long) bucketMib << 20) / Float.BYTES : Long.MAX_VALUE;
    }
}
