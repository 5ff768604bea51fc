package io.fourfold.spark;

/** Spark placed too many tasks on hosts that are left out: a new executor there came between the count and the start. */
final class HostsNotLeftOut extends RuntimeException {
    private static final long serialVersionUID = 1;

    HostsNotLeftOut(String message) {
        super(message);
    }
}
