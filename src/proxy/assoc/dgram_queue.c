#include "proxy/assoc/dgram_queue.h"

void dgram_queue_init(struct dgram_queue *queue)
{
    *queue = (struct dgram_queue){.last = &queue->first};
}

struct queued_dgram *dgram_queue_add(struct dgram_queue *queue, struct loan *loan, uint16_t tag, size_t len)
{
    if (queue->count == DGRAM_QUEUE_COUNT || queue->bytes + len > DGRAM_QUEUE_BYTES || !loan_take(loan, len))
        return NULL;
    struct queued_dgram *dgram = malloc(sizeof(*dgram) + len);
    if (!dgram) {
        loan_give_back(loan, len);
        return NULL;
    }
    dgram->next = NULL;
    dgram->len = len;
    dgram->tag = tag;
    *queue->last = dgram;
    queue->last = &dgram->next;
    queue->count++;
    queue->bytes += len;
    return dgram;
}

void dgram_queue_clear(struct dgram_queue *queue, struct loan *loan)
{
    for (struct queued_dgram *dgram = queue->first, *next; dgram; dgram = next) {
        next = dgram->next;
        free(dgram);
    }
    loan_give_back(loan, queue->bytes);
    dgram_queue_init(queue);
}
