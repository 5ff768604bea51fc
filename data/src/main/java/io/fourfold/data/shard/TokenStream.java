package io.fourfold.data.shard;

import io.fourfold.data.DataException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.atomic.AtomicReferenceArray;

/**
 * All shards of a split as one run of tokens in manifest order. Shards are mapped and verified when they are first
 * touched, so opening costs the same for any amount of data. Safe for concurrent use.
 */
public final class TokenStream {
    private final Path folder;
    private final List<ShardInfo> shards;
    private final boolean verifyChecksums;
    /** Tokens before each shard, and the total at the end. */
    private final long[] starts;

    private final AtomicReferenceArray<MappedShard> mapped;

    /** @throws DataException if a shard file is missing or has another size */
    public TokenStream(Path folder, Manifest manifest, boolean verifyChecksums) {
        this.folder = folder;
        this.shards =
                manifest.shards().stream().filter(shard -> shard.tokens() > 0).toList();
        this.verifyChecksums = verifyChecksums;
        this.starts = new long[shards.size() + 1];
        this.mapped = new AtomicReferenceArray<>(shards.size());
        for (int i = 0; i < shards.size(); i++) {
            starts[i + 1] = starts[i] + shards.get(i).tokens();
            Path file = folder.resolve(shards.get(i).file());
            if (!Files.isRegularFile(file)) {
                throw new DataException("Shard " + file + " is missing." + MappedShard.REPAIR);
            }
        }
        if (starts[shards.size()] != manifest.tokens()) {
            throw new DataException("Manifest of " + folder + " says " + manifest.tokens()
                    + " tokens, its shards sum to " + starts[shards.size()] + "." + MappedShard.REPAIR);
        }
    }

    public long tokens() {
        return starts[shards.size()];
    }

    /** Receives where documents begin. */
    @FunctionalInterface
    public interface DocumentStarts {
        /** @param index position within the tokens that were asked for */
        void at(int index);
    }

    /**
     * Copies tokens {@code [from, from + count)} and reports each document that begins among them, in order.
     *
     * @param target receives the tokens from {@code at} on
     */
    public void read(long from, int count, int[] target, int at, DocumentStarts documents) {
        int index = shardOf(from);
        int done = 0;
        while (done < count) {
            MappedShard shard = shard(index);
            int first = Math.toIntExact(from + done - starts[index]);
            int length = Math.min(count - done, shard.tokens() - first);
            shard.copyTokens(first, length, target, at + done);
            int document = shard.documentAt(first);
            if (shard.documentOffset(document) < first) {
                document++;
            }
            for (; document < shard.documents(); document++) {
                int offset = shard.documentOffset(document);
                if (offset >= first + length) {
                    break;
                }
                documents.at(done + offset - first);
            }
            done += length;
            index++;
        }
    }

    private int shardOf(long position) {
        if (position < 0 || position >= tokens()) {
            throw new IndexOutOfBoundsException("Token " + position + " of " + tokens() + " in " + folder);
        }
        int low = 0;
        int high = shards.size() - 1;
        while (low < high) {
            int middle = (low + high + 1) >>> 1;
            if (starts[middle] <= position) {
                low = middle;
            } else {
                high = middle - 1;
            }
        }
        return low;
    }

    private MappedShard shard(int index) {
        MappedShard shard = mapped.get(index);
        if (shard == null) {
            synchronized (mapped) {
                shard = mapped.get(index);
                if (shard == null) {
                    shard = MappedShard.open(folder, shards.get(index), verifyChecksums);
                    mapped.set(index, shard);
                }
            }
        }
        return shard;
    }
}
