package io.fourfold.kernels.tensor;

/**
 * Memory that holds nothing until it is written at a known point of the work, lent to tensors that are gone by then:
 * for example gradients that backward writes, and does not add to, layer by layer. The ranges are reclaimed in the order
 * in which they were given, so "until range i" means: released before range i is reclaimed, hence free to lie in range i
 * and all later ones. Only the time of the calls counts, because the work of a backend runs in the order of the calls.
 *
 * <p>Not thread-safe, and one at a time for each backend. Closing it ends the lending; no tensor may lie in it then.
 */
public interface Lending extends AutoCloseable {
    /**
     * Memory to lend.
     *
     * @param name for messages
     */
    record Range(String name, Tensor memory) {}

    /** A new scope whose tensors are released before range {@code until} is reclaimed; the number of ranges = borrows nothing. */
    TensorScope scope(Region region, int until);

    /**
     * The same for every workspace scope that is opened from now on, inside operations too. At the start, and with the
     * number of ranges, they borrow nothing.
     */
    void workspaceUntil(int until);

    /**
     * Must be called before anything writes to the range; nothing is lent from it any more.
     *
     * @throws IllegalStateException when a tensor still lies in it
     */
    void reclaim(int range);

    @Override
    void close();
}
