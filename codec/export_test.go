package codec

// TransformContract is testTransform, for the transforms of the examples.
var TransformContract = testTransform
