package io.fourfold.train;

import java.io.Serializable;

/**
 * What identifies a run in its checkpoints.
 *
 * @param configHash SHA-256 of the resolved configuration
 * @param tokenizerFingerprint hash of the tokenizer the data was prepared with; empty when unknown
 * @param codeVersion version of the program
 */
public record RunIdentity(String configHash, String tokenizerFingerprint, String codeVersion) implements Serializable {
    private static final long serialVersionUID = 1;
}
