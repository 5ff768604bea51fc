package io.fourfold.kernels.comm;

import java.util.List;

/** The ranks of a run, from which groups are made. */
public interface CommunicationWorld extends AutoCloseable {
    int rank();

    int size();

    /** Collective over the members: each calls it with the same name and the same ascending world ranks. */
    Communicator group(String name, List<Integer> worldRanks);

    /** Breaks every operation under way and to come, on every rank, from any thread. The first reason given is kept. */
    void abort(String reason);

    @Override
    void close();
}
