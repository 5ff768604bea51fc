package io.fourfold.config;

/** How context parallel ranks see each other's keys and values. */
public enum ContextExchange {
    /** Every rank gathers those of the whole sequences. */
    GATHER,
    /** They travel around the ranks; each holds one other rank's at a time. */
    RING
}
