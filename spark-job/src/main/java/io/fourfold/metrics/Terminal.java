package io.fourfold.metrics;

import java.io.Console;
import java.lang.reflect.InvocationTargetException;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/** Tells a person's terminal from a log file. */
final class Terminal {
    private Terminal() {}

    /** True when both ends are a terminal that understands escape sequences, and no CI system is watching. */
    static boolean interactive() {
        return interactive(System.console(), System.getenv());
    }

    static boolean interactive(@Nullable Console console, Map<String, String> environment) {
        String term = environment.getOrDefault("TERM", "dumb");
        return console != null
                && isTerminal(console)
                && !term.isEmpty()
                && !term.equals("dumb")
                && !environment.containsKey("CI");
    }

    /** JDK 22 and later give a Console even without a terminal, and a method to ask; before, it implied a terminal. */
    private static boolean isTerminal(Console console) {
        try {
            return (Boolean) Console.class.getMethod("isTerminal").invoke(console);
        } catch (NoSuchMethodException e) {
            return true;
        } catch (IllegalAccessException | InvocationTargetException e) {
            return false;
        }
    }
}
