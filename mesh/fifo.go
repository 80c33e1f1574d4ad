package mesh

// fifo is a queue in pieces of memory, which it gives back as it shrinks. The zero fifo is empty. Not safe for concurrent use.
type fifo[T any] struct {
	pieces []*[fifoPiece]T
	head   int // places of the first piece that have been popped
	n      int
	spare  *[fifoPiece]T // a piece that was emptied, for the next one
}

const fifoPiece = 32

func (q *fifo[T]) len() int { return q.n }

// at is the i-th, 0 the oldest; valid until it is popped.
func (q *fifo[T]) at(i int) *T {
	i += q.head
	return &q.pieces[i/fifoPiece][i%fifoPiece]
}

func (q *fifo[T]) push(v T) {
	if q.head+q.n == len(q.pieces)*fifoPiece {
		if q.spare == nil {
			q.spare = new([fifoPiece]T)
		}
		q.pieces, q.spare = append(q.pieces, q.spare), nil
	}
	q.n++
	*q.at(q.n - 1) = v
}

// pop takes the oldest; there must be one.
func (q *fifo[T]) pop() T {
	var none T
	first := q.at(0)
	v := *first
	*first = none
	q.head++
	q.n--
	switch {
	case q.n == 0:
		q.head = 0
		clear(q.pieces[1:])
		q.pieces = q.pieces[:1]
	case q.head == fifoPiece:
		q.spare, q.pieces[0] = q.pieces[0], nil
		q.pieces, q.head = q.pieces[1:], 0
	}
	return v
}

// unpop puts v before the oldest.
func (q *fifo[T]) unpop(v T) {
	if q.head == 0 {
		q.pieces, q.head = append([]*[fifoPiece]T{new([fifoPiece]T)}, q.pieces...), fifoPiece
	}
	q.head--
	q.n++
	*q.at(0) = v
}

// putBack puts what was popped last in front again, in the order in which it was popped.
func (q *fifo[T]) putBack(list []T) {
	for i := len(list) - 1; i >= 0; i-- {
		q.unpop(list[i])
	}
}

// insert puts v before the i-th: those before it or those behind it make room, whichever are fewer.
func (q *fifo[T]) insert(i int, v T) {
	if i < q.n/2 {
		q.unpop(v)
		for k := range i {
			*q.at(k) = *q.at(k + 1)
		}
	} else {
		q.push(v)
		for k := q.n - 1; k > i; k-- {
			*q.at(k) = *q.at(k - 1)
		}
	}
	*q.at(i) = v
}

// remove takes the i-th out.
func (q *fifo[T]) remove(i int) T {
	var none T
	v := *q.at(i)
	for ; i+1 < q.n; i++ {
		*q.at(i) = *q.at(i + 1)
	}
	*q.at(q.n - 1) = none
	q.n--
	return v
}
