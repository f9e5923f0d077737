/**
 * The operators that a device runs, in one table: generous for decoders, closed for everything else.
 *
 * Each is a pure function of its inputs. Left out on purpose: whatever draws random numbers (an answer would not be a
 * function of its seed), holds text, calls code that is not in the runtime, or trains; and what the runtime has for
 * graphics cards alone.
 */
const ONNX = `
  Abs Acos Add And ArgMax ArgMin Asin Atan Attention BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast
  CastLike Ceil Celu Clip Compress Concat Constant ConstantOfShape Conv Cos Cosh CumSum DepthToSpace
  DequantizeLinear Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather
  GatherElements GatherND Gelu Gemm Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish Identity If
  InstanceNormalization IsInf IsNaN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax Loop
  LpNormalization MatMul MatMulInteger Max Mean Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow
  QLinearMatMul QuantizeLinear RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp
  ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape RotaryEmbedding Round Scan
  ScatterElements ScatterND Selu Shape Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
  Split Sqrt Squeeze Sub Sum Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze
  Where Xor`;

/** https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md */
const MICROSOFT = `
  Attention BiasGelu DecoderMaskedMultiHeadAttention DequantizeLinear DynamicQuantizeMatMul
  EmbedLayerNormalization FastGelu FusedConv FusedGemm FusedMatMul GatherBlockQuantized Gelu
  GroupQueryAttention MatMulBnb4 MatMulInteger16 MatMulIntegerToFloat MatMulNBits MoE MultiHeadAttention
  QAttention QMoE QuantizeLinear QuickGelu RotaryEmbedding SimplifiedLayerNormalization
  SkipLayerNormalization SkipSimplifiedLayerNormalization SparseAttention UnfoldTensor`;

const words = (text: string): ReadonlySet<string> => new Set(text.trim().split(/\s+/));

/** By domain; '' is ONNX's own. ONNX Runtime registers SimplifiedLayerNormalization under '' too. */
export const OPERATORS: ReadonlyMap<string, ReadonlySet<string>> = new Map([
  ['', new Set([...words(ONNX), 'SimplifiedLayerNormalization'])],
  ['com.microsoft', words(MICROSOFT)],
]);
