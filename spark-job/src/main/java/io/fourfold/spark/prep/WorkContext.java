package io.fourfold.spark.prep;

import io.fourfold.data.tokenize.Tokenizer;
import io.fourfold.data.tokenize.TokenizerSource;
import java.io.IOException;
import java.io.Serializable;
import java.io.UncheckedIOException;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.spark.broadcast.Broadcast;
import org.apache.spark.util.SerializableConfiguration;

/** What tasks need on any machine: file system settings, the output folder and the tokenizer. */
record WorkContext(
        SerializableConfiguration hadoop, String folder, Broadcast<TokenizerSource> tokenizerSource, FaultPoint fault)
        implements Serializable {
    /** One tokenizer for all tasks of a JVM: loading takes seconds and hundreds of megabytes, and it is thread-safe. */
    private static final Map<String, Tokenizer> OPEN = new ConcurrentHashMap<>();

    Configuration configuration() {
        return hadoop.value();
    }

    UnitFiles files() {
        try {
            return new UnitFiles(Folder.of(folder, configuration()));
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    /** @param fingerprint tells tokenizers apart */
    Tokenizer tokenizer(String fingerprint) {
        return OPEN.computeIfAbsent(fingerprint, key -> tokenizerSource.value().open());
    }
}
