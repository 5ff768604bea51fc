package io.fourfold.spark.prep;

import java.io.Serializable;

/** Told when a unit passes a point at which tests stop the work. */
@FunctionalInterface
interface FaultPoint extends Serializable {
    FaultPoint NONE = (point, unit) -> {};

    void reached(String point, int unit);
}
