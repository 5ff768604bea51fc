package io.fourfold.data.tokenize;

import io.fourfold.data.DataException;
import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import org.jspecify.annotations.Nullable;

/** Ids 0..255 are the bytes of the UTF-8 text, 256 ends a document. */
final class ByteTokenizer implements Tokenizer {
    static final String NAME = "bytes";
    private static final String END_OF_DOCUMENT = "<|endoftext|>";
    private static final int BYTES = 256;

    ByteTokenizer(@Nullable String endOfDocument) {
        if (endOfDocument != null && !endOfDocument.equals(END_OF_DOCUMENT)) {
            throw new DataException("The byte tokenizer has no token '" + endOfDocument
                    + "'; remove data.end_of_document or set it to " + END_OF_DOCUMENT);
        }
    }

    @Override
    public String description() {
        return NAME;
    }

    @Override
    public String fingerprint() {
        return new Fingerprint(NAME)
                .add(END_OF_DOCUMENT.getBytes(StandardCharsets.UTF_8))
                .hex();
    }

    @Override
    public int vocabSize() {
        return BYTES + 1;
    }

    @Override
    public int endOfDocument() {
        return BYTES;
    }

    @Override
    public List<int[]> encode(List<String> texts) {
        List<int[]> result = new ArrayList<>(texts.size());
        for (String text : texts) {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            int[] ids = new int[bytes.length];
            for (int i = 0; i < ids.length; i++) {
                ids[i] = Byte.toUnsignedInt(bytes[i]);
            }
            result.add(ids);
        }
        return result;
    }

    @Override
    public String decode(int[] ids) {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream(ids.length);
        for (int id : ids) {
            if (id < 0 || id > BYTES) {
                throw new DataException("Id " + id + " is outside the byte vocabulary [0, " + BYTES + "]");
            } else if (id == BYTES) {
                bytes.writeBytes(END_OF_DOCUMENT.getBytes(StandardCharsets.UTF_8));
            } else {
                bytes.write(id);
            }
        }
        return bytes.toString(StandardCharsets.UTF_8);
    }

    @Override
    public void close() {
        // Holds nothing.
    }
}
