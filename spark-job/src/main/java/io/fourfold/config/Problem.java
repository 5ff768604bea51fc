package io.fourfold.config;

/**
 * One thing that is wrong with a configuration.
 *
 * @param severity whether the run may go on
 * @param key dotted path of the setting, for example {@code model.attention.heads}; empty for a whole file
 * @param where file:line, the {@code --set} argument, or {@code default}; empty when only the key is known
 * @param value what was found, as written
 * @param rule what must hold
 * @param fix the next thing to do
 */
public record Problem(Severity severity, String key, String where, String value, String rule, String fix) {
    /** How bad it is. */
    public enum Severity {
        WARNING,
        ERROR
    }

    public static Problem error(String key, Object value, String rule, String fix) {
        return new Problem(Severity.ERROR, key, "", String.valueOf(value), rule, fix);
    }

    public static Problem warning(String key, Object value, String rule, String fix) {
        return new Problem(Severity.WARNING, key, "", String.valueOf(value), rule, fix);
    }

    public Problem at(String place) {
        return new Problem(severity, key, place, value, rule, fix);
    }

    public boolean isError() {
        return severity == Severity.ERROR;
    }

    /** Two lines: place, key, value and rule; then the fix. */
    @Override
    public String toString() {
        StringBuilder text = new StringBuilder();
        if (!where.isEmpty()) {
            text.append(where).append(": ");
        }
        if (!key.isEmpty()) {
            text.append(key);
            if (!value.isEmpty()) {
                text.append(" = ").append(value);
            }
            text.append(": ");
        }
        text.append(rule);
        if (!fix.isEmpty()) {
            text.append("\n    fix: ").append(fix);
        }
        return text.toString();
    }
}
