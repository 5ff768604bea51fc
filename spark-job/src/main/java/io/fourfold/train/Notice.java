package io.fourfold.train;

/** An event that happened before the metrics sink was started. */
record Notice(int step, String kind, String message) {}
