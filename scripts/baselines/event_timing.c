/* Shows several recordings to an exported network; benchmark_deploy.py measures the time. */
#include "network.h"

/* Events of step t of recording s: pointer[s * steps + t] up to the next entry. */
void run_recordings(const uint32_t *pointer, const uint16_t *channel, const uint8_t *count,
                    unsigned recordings, unsigned steps, int32_t *classes)
{
    for (unsigned s = 0; s < recordings; ++s) {
        network_reset();
        for (unsigned t = 0; t < steps; ++t) {
            uint32_t first = pointer[s * steps + t], last = pointer[s * steps + t + 1];
            network_step(channel + first, count + first, last - first);
        }
        classes[s] = network_class();
    }
}
