/* Runs the recordings of samples.bin and compares classes, spikes and scores with the expected ones.
   The file's layout stands in docs/deploy.md. Exit code: 0 all equal, 1 some differ, 2 no such file
   or not one of this network. */
#include <stdio.h>
#include <stdlib.h>
#include "network.h"

#define EACH (NETWORK_CLASS_EACH_STEP ? NETWORK_STEPS : 1)

static FILE *file;
static uint16_t expected[EACH], answer[EACH], label[EACH], channel[NETWORK_INPUTS];
static uint8_t count[NETWORK_INPUTS];

static void fail(const char *what)
{
    printf("samples.bin: %s\n", what);
    exit(2);
}

static uint64_t number(unsigned bytes)
{
    uint64_t value = 0;
    unsigned i;
    for (i = 0; i < bytes; ++i) {
        int byte = fgetc(file);
        if (byte == EOF)
            fail("it is truncated");
        value |= (uint64_t)byte << (8 * i);
    }
    return value;
}

static network_score score(void)
{
    union {
        uint64_t bits;
        network_score value;
    } either;
    either.bits = number(8);
    return either.value;
}

/* The distance of two scores; integers have none that is allowed. */
static int far(network_score a, network_score b)
{
    network_score distance = a > b ? a - b : b - a;
    return NETWORK_INTEGER ? distance != 0 : !(distance <= (network_score)0.001);
}

static void steps(unsigned length)
{
    unsigned t, k;
    network_reset();
    for (t = 0; t < length; ++t) {
        unsigned events = (unsigned)number(2);
        if (events > NETWORK_INPUTS)
            fail("a step has more events than channels");
        for (k = 0; k < events; ++k) {
            channel[k] = (uint16_t)number(2);
            count[k] = (uint8_t)number(1);
        }
        if (network_step(channel, count, events) != 0)
            fail("an event is out of range");
        if (NETWORK_CLASS_EACH_STEP)
            answer[t] = (uint16_t)network_class();
    }
    if (!NETWORK_CLASS_EACH_STEP)
        answer[0] = (uint16_t)network_class();
}

/* One recording: 1 where something differs. */
static int sample(unsigned index, unsigned *right, unsigned *labelled)
{
    static network_score scores[NETWORK_CLASSES];
    static uint32_t spikes[NETWORK_LAYERS];
    unsigned i, length = (unsigned)number(4), classes, wrong = 0;
    if (length < 1 || length > NETWORK_STEPS)
        fail("a recording has no steps or too many");
    classes = NETWORK_CLASS_EACH_STEP ? length : 1;
    for (i = 0; i < classes; ++i) {
        expected[i] = (uint16_t)number(2);
        label[i] = (uint16_t)number(2);
    }
    for (i = 0; i < NETWORK_CLASSES; ++i)
        scores[i] = score();
    for (i = 0; i < NETWORK_LAYERS; ++i)
        spikes[i] = (uint32_t)number(4);
    steps(length);
    for (i = 0; i < classes; ++i) {
        *labelled += label[i] != 65535u;
        *right += answer[i] == label[i];
        if (answer[i] != expected[i] && !wrong) {
            printf("sample %u: class %u, expected %u\n", index, (unsigned)answer[i],
                   (unsigned)expected[i]);
            wrong = 1;
        }
    }
    for (i = 0; i < NETWORK_LAYERS; ++i)
        if (network_spikes[i] != spikes[i]) {
            printf("sample %u: %lu spikes in layer %u, expected %lu\n", index,
                   (unsigned long)network_spikes[i], i, (unsigned long)spikes[i]);
            wrong = 1;
        }
    for (i = 0; i < NETWORK_CLASSES; ++i)
        if (far(network_scores[i], scores[i])) {
            printf("sample %u: the score of class %u differs\n", index, i);
            wrong = 1;
        }
    return (int)wrong;
}

int main(int arguments, char **names)
{
    const uint32_t layout[] = {0x534e4e42u, 1, NETWORK_INPUTS, NETWORK_CLASSES, NETWORK_STEPS,
                               NETWORK_LAYERS, NETWORK_INTEGER, NETWORK_CLASS_EACH_STEP};
    unsigned i, samples, different = 0, right = 0, labelled = 0;
    const char *name = arguments > 1 && names[1] ? names[1] : "samples.bin";
    file = fopen(name, "rb");
    if (!file)
        fail("it is not there: snnbreg export RUN --out DIR --samples N writes it");
    for (i = 0; i < sizeof layout / sizeof *layout; ++i)
        if (number(4) != layout[i])
            fail("it belongs to another network");
    samples = (unsigned)number(4);
    for (i = 0; i < samples; ++i)
        different += (unsigned)sample(i, &right, &labelled);
    fclose(file);
    printf("%u samples, %u differ; %u of %u labels right\n", samples, different, right, labelled);
    return different ? 1 : 0;
}
