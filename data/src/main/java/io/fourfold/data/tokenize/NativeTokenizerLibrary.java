package io.fourfold.data.tokenize;

import java.util.Map;

/** Settings the native tokenizer library reads when it loads: it must take the CPU build in its jar, not download one. */
final class NativeTokenizerLibrary {
    private static final Map<String, String> SETTINGS =
            Map.of("ai.djl.offline", "true", "DJL_OFFLINE", "true", "RUST_FLAVOR", "cpu", "OPT_OUT_TRACKING", "true");

    private NativeTokenizerLibrary() {}

    /** Sets each property that the user did not set. Must run before the first use of the library. */
    static void prepare() {
        SETTINGS.forEach((key, value) -> {
            if (System.getProperty(key) == null && System.getenv(key) == null) {
                System.setProperty(key, value);
            }
        });
    }
}
