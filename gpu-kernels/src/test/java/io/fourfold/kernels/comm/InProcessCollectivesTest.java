package io.fourfold.kernels.comm;

import java.util.List;

final class InProcessCollectivesTest extends CollectivesContract {
    @Override
    List<? extends CommunicationWorld> create(int size) {
        return InProcessWorld.create(size);
    }
}
