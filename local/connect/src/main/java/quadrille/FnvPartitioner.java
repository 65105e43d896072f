package quadrille;

import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;

import org.apache.kafka.clients.producer.Partitioner;
import org.apache.kafka.common.Cluster;

/**
 * Gives a key the partition that Dapr's Kafka component gives it (Sarama's hash
 * partitioner: FNV-1a, 32 bits), so that an order keeps its partition whichever relay
 * publishes its events. Java's clients hash with murmur2 otherwise.
 */
public final class FnvPartitioner implements Partitioner {
    private static final int OFFSET_BASIS = 0x811c9dc5;
    private static final int PRIME = 0x01000193;

    @Override
    public int partition(String topic, Object key, byte[] keyBytes, Object value, byte[] valueBytes, Cluster cluster) {
        int partitions = cluster.partitionsForTopic(topic).size();
        if (keyBytes == null) {
            return ThreadLocalRandom.current().nextInt(partitions);
        }
        int hash = OFFSET_BASIS;
        for (byte b : keyBytes) {
            hash = (hash ^ (b & 0xff)) * PRIME;
        }
        return Math.abs(hash % partitions);
    }

    @Override
    public void configure(Map<String, ?> configs) {
    }

    @Override
    public void close() {
    }
}
