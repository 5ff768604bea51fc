package io.fourfold.config;

import java.lang.annotation.ElementType;
import java.lang.annotation.Retention;
import java.lang.annotation.RetentionPolicy;
import java.lang.annotation.Target;

/**
 * Documents one component of a configuration record. The YAML key is the component's name in snake_case. The binder, the
 * checks and the generated reference all read this annotation, so nothing about a key is written twice.
 */
@Target(ElementType.RECORD_COMPONENT)
@Retention(RetentionPolicy.RUNTIME)
public @interface Setting {
    /** One or two sentences with the unit. */
    String doc();

    /** The default as YAML text; {@link #REQUIRED} when the key must be given, {@link #ABSENT} for null. */
    String value() default REQUIRED;

    /** Smallest legal value of a number. */
    double min() default Double.NEGATIVE_INFINITY;

    /** Largest legal value of a number. */
    double max() default Double.POSITIVE_INFINITY;

    /** Earlier names of the key, still accepted with a warning. */
    String[] oldNames() default {};

    String REQUIRED = "\0required";
    String ABSENT = "\0absent";
}
