package io.fourfold.train.restart;

import java.util.Objects;
import org.jspecify.annotations.Nullable;

/** An attempt failed; the cause says why. */
public final class AttemptException extends Exception {
    private static final long serialVersionUID = 1;

    private final @Nullable String host;

    /**
     * @param error what ends the run if there is no restart
     * @param host the host that failed first; null when unknown, or when no host is to blame
     */
    public AttemptException(RuntimeException error, @Nullable String host) {
        super(error.getMessage(), error);
        this.host = host;
    }

    public RuntimeException error() {
        return (RuntimeException) Objects.requireNonNull(getCause());
    }

    public @Nullable String host() {
        return host;
    }
}
