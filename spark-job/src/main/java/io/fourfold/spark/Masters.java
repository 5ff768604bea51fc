package io.fourfold.spark;

/** What follows from Spark's master setting. */
final class Masters {
    private Masters() {}

    /** True when driver and tasks are threads of one JVM. {@code local-cluster} is not. */
    static boolean isLocal(String master) {
        return master.equals("local") || master.startsWith("local[");
    }
}
