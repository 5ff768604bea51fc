package io.fourfold.checkpoint;

import java.io.IOException;
import java.io.OutputStream;
import java.util.List;

/** Runs a hook before a file is created; the hook may fail or take its time. */
public final class HookedStorage implements RunStorage {
    /** Called with the path. */
    @FunctionalInterface
    public interface BeforeCreate {
        void accept(String path) throws IOException;
    }

    private final RunStorage storage;
    private final BeforeCreate hook;

    public HookedStorage(RunStorage storage, BeforeCreate hook) {
        this.storage = storage;
        this.hook = hook;
    }

    @Override
    public String location() {
        return storage.location();
    }

    @Override
    public OutputStream create(String path) throws IOException {
        hook.accept(path);
        return storage.create(path);
    }

    @Override
    public StorageInput open(String path) throws IOException {
        return storage.open(path);
    }

    @Override
    public boolean exists(String path) throws IOException {
        return storage.exists(path);
    }

    @Override
    public List<String> list(String folder) throws IOException {
        return storage.list(folder);
    }

    @Override
    public void rename(String from, String to) throws IOException {
        storage.rename(from, to);
    }

    @Override
    public void delete(String path) throws IOException {
        storage.delete(path);
    }
}
