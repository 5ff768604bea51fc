package io.fourfold.checkpoint;

/** What a stored segment holds for its elements. */
public enum Quantity {
    /** FP32 master weight. */
    WEIGHT,
    /** First AdamW moment. */
    MOMENT1,
    /** Second AdamW moment. */
    MOMENT2,
    /** State that no gradient moves, for example the expert bias. */
    STATE
}
