package io.fourfold.data.tokenize;

import com.knuddels.jtokkit.Encodings;
import com.knuddels.jtokkit.api.Encoding;
import com.knuddels.jtokkit.api.IntArrayList;
import io.fourfold.data.DataException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** The vocabularies of tiktoken, byte-pair encoding in pure Java. */
final class TiktokenTokenizer implements Tokenizer {
    private static final String END_OF_TEXT = "<|endoftext|>";

    /** Vocabularies by name: size including the special tokens, the id of {@code <|endoftext|>}, and how many ranks. */
    private enum Vocabulary {
        R50K_BASE(50_257, 50_256, 50_256),
        P50K_BASE(50_281, 50_256, 50_281),
        CL100K_BASE(100_277, 100_257, 100_256),
        O200K_BASE(200_019, 199_999, 199_998);

        private final int size;
        private final int endOfText;
        private final int ranks;

        Vocabulary(int size, int endOfText, int ranks) {
            this.size = size;
            this.endOfText = endOfText;
            this.ranks = ranks;
        }
    }

    private final String description;
    private final Vocabulary vocabulary;
    private final Encoding encoding;
    private final String fingerprint;

    TiktokenTokenizer(String description, @Nullable String endOfDocument) {
        this.description = description;
        this.vocabulary = find(description);
        if (endOfDocument != null && !endOfDocument.equals(END_OF_TEXT)) {
            throw new DataException("Tokenizer " + description + " ends documents with " + END_OF_TEXT + ", not '"
                    + endOfDocument + "'; remove data.end_of_document");
        }
        String name = description.substring(TokenizerSource.TIKTOKEN.length());
        this.encoding = Encodings.newLazyEncodingRegistry()
                .getEncoding(name)
                .orElseThrow(() -> new DataException("The tokenizer library has no vocabulary " + name));
        this.fingerprint = fingerprint(name);
    }

    private static Vocabulary find(String description) {
        String name = description.substring(TokenizerSource.TIKTOKEN.length());
        List<String> known = new ArrayList<>();
        for (Vocabulary candidate : Vocabulary.values()) {
            String candidateName = candidate.name().toLowerCase(java.util.Locale.ROOT);
            if (candidateName.equals(name)) {
                return candidate;
            }
            known.add(TokenizerSource.TIKTOKEN + candidateName);
        }
        throw new DataException("Unknown vocabulary " + description + "; known: " + String.join(", ", known));
    }

    /** Over the bytes of every rank: the split pattern is fixed by the name. */
    private String fingerprint(String name) {
        Fingerprint result = new Fingerprint("tiktoken").add(name.getBytes(StandardCharsets.UTF_8));
        IntArrayList one = new IntArrayList(1);
        one.add(0);
        for (int id = 0; id < vocabulary.ranks; id++) {
            if (vocabulary == Vocabulary.P50K_BASE && id == vocabulary.endOfText) {
                continue;
            }
            one.set(0, id);
            result.add(encoding.decodeBytes(one));
        }
        return result.add(vocabulary.endOfText).hex();
    }

    @Override
    public String description() {
        return description;
    }

    @Override
    public String fingerprint() {
        return fingerprint;
    }

    @Override
    public int vocabSize() {
        return vocabulary.size;
    }

    @Override
    public int endOfDocument() {
        return vocabulary.endOfText;
    }

    @Override
    public List<int[]> encode(List<String> texts) {
        List<int[]> result = new ArrayList<>(texts.size());
        for (String text : texts) {
            result.add(encoding.encodeOrdinary(text).toArray());
        }
        return result;
    }

    @Override
    public String decode(int[] ids) {
        IntArrayList list = new IntArrayList(ids.length);
        for (int id : ids) {
            list.add(id);
        }
        return encoding.decode(list);
    }

    @Override
    public void close() {
        // Holds heap only.
    }
}
