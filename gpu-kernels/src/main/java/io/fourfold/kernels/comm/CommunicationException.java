package io.fourfold.kernels.comm;

/** A collective could not complete: a peer failed, the world was aborted, or an argument did not match. */
public final class CommunicationException extends RuntimeException {
    public CommunicationException(String message) {
        super(message);
    }

    public CommunicationException(String message, Throwable cause) {
        super(message, cause);
    }
}
