package io.fourfold.data.tokenize;

import ai.djl.huggingface.tokenizers.jni.LibUtils;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.fourfold.data.DataException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.locks.ReadWriteLock;
import java.util.concurrent.locks.ReentrantReadWriteLock;
import java.util.function.LongFunction;
import org.jspecify.annotations.Nullable;

/**
 * A Hugging Face {@code tokenizer.json}, run by the original Rust library. Goes through the library's native methods
 * because its Java class also copies token texts, spans and masks, which costs more than the encoding.
 *
 * <p>Special tokens in a text must not become control tokens, so the native tokenizer is loaded with them hidden (and
 * without truncation, padding and post-processor, which would change or add tokens); they come back when decoding.
 */
final class HfTokenizer implements Tokenizer {
    /** Names under which well-known tokenizers keep their end-of-document token, in order of preference. */
    private static final List<String> END_OF_DOCUMENT_NAMES = List.of(
            "<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<\uFF5Cend\u2581of\u2581sentence\uFF5C>");

    /** Long texts are cut into pieces of about this size, and so many pieces are in the library at a time. */
    private static final int PIECE_CHARACTERS = 1 << 15;

    private static final int PIECES_TOGETHER = 16;

    private final String description;
    private final String fingerprint;
    private final int vocabSize;
    private final int endOfDocument;
    private final TreeMap<Integer, String> specialTokens;
    private final boolean canCut;
    private final ReadWriteLock lifetime = new ReentrantReadWriteLock();
    private long handle;

    HfTokenizer(String description, @Nullable String endOfDocument, JsonNode json, byte[] content) {
        this.description = description;
        if (!(json instanceof ObjectNode root) || !root.path("model").isObject()) {
            throw new DataException("Tokenizer file " + description
                    + " has no 'model' object; it is not a Hugging Face tokenizer.json");
        }
        Map<String, Integer> vocabulary = HfVocabulary.read(description, root);
        this.canCut = SafeCuts.areKnown(root);
        this.specialTokens = HfVocabulary.hideSpecialTokens(root);
        this.vocabSize = HfVocabulary.size(vocabulary, specialTokens);
        this.endOfDocument = findEndOfDocument(endOfDocument, vocabulary);
        this.fingerprint = new Fingerprint("huggingface")
                .add(content)
                .add(this.endOfDocument)
                .hex();
        root.putNull("truncation");
        root.putNull("padding");
        root.putNull("post_processor");
        this.handle = load(root.toString());
    }

    private int findEndOfDocument(@Nullable String wanted, Map<String, Integer> vocabulary) {
        List<String> names = wanted != null ? List.of(wanted) : END_OF_DOCUMENT_NAMES;
        for (String name : names) {
            for (Map.Entry<Integer, String> special : specialTokens.entrySet()) {
                if (special.getValue().equals(name)) {
                    return special.getKey();
                }
            }
            Integer id = vocabulary.get(name);
            if (id != null) {
                return id;
            }
        }
        throw new DataException("Tokenizer " + description + " has no token " + String.join(" or ", names)
                + "; name its end-of-document token in data.end_of_document (its special tokens: "
                + specialTokens.values().stream().limit(20).toList() + ")");
    }

    private long load(String json) {
        NativeTokenizerLibrary.prepare();
        try {
            LibUtils.checkStatus();
            return TokenizersLibrary.LIB.createTokenizerFromString(json);
        } catch (RuntimeException | UnsatisfiedLinkError e) {
            throw new DataException(
                    "Cannot load tokenizer " + description + ": " + e.getMessage()
                            + ". Check that the file is a Hugging Face tokenizer.json and that this platform"
                            + " (linux-x86_64 is tested) has the native tokenizer library",
                    e);
        }
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
        return vocabSize;
    }

    @Override
    public int endOfDocument() {
        return endOfDocument;
    }

    @Override
    public List<int[]> encode(List<String> texts) {
        List<int[]> result = encodePlain(texts);
        for (int i = 0; i < result.size(); i++) {
            if (containsSpecial(result.get(i))) {
                result.set(i, encodeAroundSpecials(texts.get(i)));
            }
        }
        return result;
    }

    /** Short texts go to the library together, long ones by themselves and in pieces. */
    private List<int[]> encodePlain(List<String> texts) {
        List<String> together = new ArrayList<>();
        for (String text : texts) {
            together.add(isLong(text) ? "" : text);
        }
        List<int[]> result = withHandle(tokenizer -> encodeNative(tokenizer, together));
        for (int i = 0; i < result.size(); i++) {
            if (isLong(texts.get(i))) {
                result.set(i, encodeLong(SafeCuts.cut(texts.get(i), PIECE_CHARACTERS)));
            }
        }
        return result;
    }

    private boolean isLong(String text) {
        return canCut && text.length() > PIECES_TOGETHER * PIECE_CHARACTERS;
    }

    private int[] encodeLong(List<String> pieces) {
        List<int[]> parts = new ArrayList<>();
        for (int from = 0; from < pieces.size(); from += PIECES_TOGETHER) {
            List<String> some = pieces.subList(from, Math.min(pieces.size(), from + PIECES_TOGETHER));
            parts.addAll(withHandle(tokenizer -> encodeNative(tokenizer, some)));
        }
        return join(parts);
    }

    private static int[] join(List<int[]> parts) {
        return parts.stream().flatMapToInt(Arrays::stream).toArray();
    }

    private static List<int[]> encodeNative(long tokenizer, List<String> texts) {
        if (texts.isEmpty()) {
            return new ArrayList<>();
        }
        TokenizersLibrary library = TokenizersLibrary.LIB;
        long[] encodings = library.batchEncode(tokenizer, texts.toArray(new String[0]), false);
        List<int[]> result = new ArrayList<>(encodings.length);
        int next = 0;
        try {
            for (; next < encodings.length; next++) {
                long[] ids = library.getTokenIds(encodings[next]);
                int[] narrow = new int[ids.length];
                for (int i = 0; i < ids.length; i++) {
                    narrow[i] = Math.toIntExact(ids[i]);
                }
                result.add(narrow);
                library.deleteEncoding(encodings[next]);
            }
        } catch (RuntimeException | Error e) {
            for (int i = next; i < encodings.length; i++) {
                library.deleteEncoding(encodings[i]);
            }
            throw e;
        }
        return result;
    }

    private boolean containsSpecial(int[] ids) {
        if (specialTokens.isEmpty()) {
            return false;
        }
        int lowest = specialTokens.firstKey();
        int highest = specialTokens.lastKey();
        for (int id : ids) {
            if (id >= lowest && id <= highest && specialTokens.containsKey(id)) {
                return true;
            }
        }
        return false;
    }

    /** Some models (unigram) find a control token's text in their vocabulary: cut the text inside each such place. */
    private int[] encodeAroundSpecials(String text) {
        List<String> pieces = new ArrayList<>(List.of(text));
        for (String special : specialTokens.values()) {
            if (special.length() < 2) {
                continue;
            }
            List<String> next = new ArrayList<>();
            for (String piece : pieces) {
                int from = 0;
                for (int at = piece.indexOf(special); at >= 0; at = piece.indexOf(special, at + 1)) {
                    next.add(piece.substring(from, at + 1));
                    from = at + 1;
                }
                next.add(piece.substring(from));
            }
            pieces = next;
        }
        List<String> parts = pieces;
        List<int[]> encoded = withHandle(tokenizer -> encodeNative(tokenizer, parts));
        int[] ids = join(encoded);
        if (containsSpecial(ids)) {
            throw new DataException("Tokenizer " + description + " produces a control token for plain text; its special"
                    + " tokens " + specialTokens.values() + " cannot be kept apart from text");
        }
        return ids;
    }

    @Override
    public String decode(int[] ids) {
        StringBuilder text = new StringBuilder();
        int from = 0;
        for (int i = 0; i <= ids.length; i++) {
            String special = i < ids.length ? specialTokens.get(ids[i]) : null;
            if (i == ids.length || special != null) {
                if (i > from) {
                    long[] run = Arrays.stream(ids, from, i).asLongStream().toArray();
                    String piece = withHandle(tokenizer -> TokenizersLibrary.LIB.decode(tokenizer, run, false));
                    text.append(piece);
                }
                text.append(special == null ? "" : special);
                from = i + 1;
            }
        }
        return text.toString();
    }

    private <T> T withHandle(LongFunction<T> use) {
        lifetime.readLock().lock();
        try {
            if (handle == 0) {
                throw new IllegalStateException("Tokenizer " + description + " is closed");
            }
            return use.apply(handle);
        } finally {
            lifetime.readLock().unlock();
        }
    }

    @Override
    public void close() {
        lifetime.writeLock().lock();
        try {
            if (handle != 0) {
                TokenizersLibrary.LIB.deleteTokenizer(handle);
                handle = 0;
            }
        } finally {
            lifetime.writeLock().unlock();
        }
    }
}
