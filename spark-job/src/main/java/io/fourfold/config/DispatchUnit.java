package io.fourfold.config;

/** What travels between expert-parallel ranks. */
public enum DispatchUnit {
    /** Each token once to each rank that holds some of its experts. */
    TOKEN,
    /** A row for each chosen expert. */
    SLOT
}
