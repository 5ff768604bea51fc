package io.fourfold.data;

/** Data that cannot be used: missing, corrupt or not matching. The message says which file, why, and what to do. */
public final class DataException extends RuntimeException {
    public DataException(String message) {
        super(message);
    }

    public DataException(String message, Throwable cause) {
        super(message, cause);
    }
}
