package io.fourfold.config;

/** How updated weights travel to the ranks that hold the same parameters. */
public enum WeightFormat {
    /** As they are. */
    EXACT,
    /** As the codes that products read, where those are NVFP4 in blocks of 16 x 16. */
    NVFP4
}
