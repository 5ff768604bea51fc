package io.fourfold.config;

import java.math.BigDecimal;
import java.util.List;
import java.util.Locale;
import java.util.Objects;

/** Reads one scalar as the type its setting asks for. */
final class Scalars {
    /** A value of the wrong type; the message completes "must be ...". */
    static final class Mismatch extends Exception {
        private final String fix;

        Mismatch(String rule, String fix) {
            super(rule);
            this.fix = fix;
        }

        String fix() {
            return fix;
        }
    }

    private Scalars() {}

    /**
     * @param type int, long, double, boolean, String, an enum, or a box of these
     */
    static Object read(YamlNode.Scalar node, Class<?> type) throws Mismatch {
        if (type == String.class) {
            return node.text();
        }
        if (type.isEnum()) {
            return enumeration(node.text(), type);
        }
        if (!node.plain()) {
            throw new Mismatch("must be " + article(type) + ", found text in quotes", "remove the quotes");
        }
        if (type == boolean.class || type == Boolean.class) {
            return truth(node.text());
        }
        if (type == int.class || type == Integer.class) {
            return Math.toIntExact(whole(node.text(), Integer.MIN_VALUE, Integer.MAX_VALUE));
        }
        if (type == long.class || type == Long.class) {
            return whole(node.text(), Long.MIN_VALUE, Long.MAX_VALUE);
        }
        if (type == double.class || type == Double.class) {
            return number(node.text(), "a number", "0.5 or 3.0e-4").doubleValue();
        }
        throw new IllegalStateException("no configuration value can have type " + type.getName());
    }

    /** "a whole number" and so on, for messages and the reference. */
    static String article(Class<?> type) {
        if (type == int.class || type == Integer.class || type == long.class || type == Long.class) {
            return "a whole number";
        }
        if (type == double.class || type == Double.class) {
            return "a number";
        }
        if (type == boolean.class || type == Boolean.class) {
            return "true or false";
        }
        List<String> words = SettingKeys.words(type);
        return words == null ? "text" : "one of " + String.join(", ", words);
    }

    private static boolean truth(String text) throws Mismatch {
        return switch (text.toLowerCase(Locale.ROOT)) {
            case "true" -> true;
            case "false" -> false;
            default -> throw new Mismatch("must be true or false", "write true or false");
        };
    }

    private static long whole(String text, long least, long most) throws Mismatch {
        BigDecimal value = number(text, "a whole number", "128 or 1_000");
        try {
            long exact = value.longValueExact();
            if (exact >= least && exact <= most) {
                return exact;
            }
        } catch (ArithmeticException e) {
            if (value.stripTrailingZeros().scale() > 0) {
                throw new Mismatch("must be a whole number", "drop the fraction");
            }
        }
        throw new Mismatch("must be a whole number between " + least + " and " + most, "give a number in that range");
    }

    /** Decimal numbers with an optional exponent; 1_000 and 1e-4 are fine, NaN and hexadecimal are not. */
    private static BigDecimal number(String text, String what, String example) throws Mismatch {
        try {
            BigDecimal value = new BigDecimal(text.replace("_", ""));
            if (Math.abs((long) value.precision() - value.scale()) > 400 || Double.isInfinite(value.doubleValue())) {
                throw new Mismatch("must be a number within 1e308", "give a smaller exponent");
            }
            return value;
        } catch (NumberFormatException e) {
            throw new Mismatch("must be " + what, "write digits such as " + example);
        }
    }

    private static Object enumeration(String text, Class<?> type) throws Mismatch {
        String wanted = text.toLowerCase(Locale.ROOT).replace('-', '_').replace('.', '_');
        for (Object constant : type.getEnumConstants()) {
            if (SettingKeys.word((Enum<?>) constant).equals(wanted)) {
                return constant;
            }
        }
        List<String> words = Objects.requireNonNull(SettingKeys.words(type));
        String nearest = NearestName.of(text, words);
        throw new Mismatch(
                "must be one of " + String.join(", ", words),
                nearest == null ? "choose one of them" : "did you mean " + nearest + "?");
    }
}
