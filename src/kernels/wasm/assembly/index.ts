export { packPanels, packPanelsTransposed, conv2d, conv2dInputGrad, scratchBytes } from "./conv";
export { conv2dFilterGrad, gradScratchBytes, padImages } from "./conv_grad";
export { moments, normalise, normaliseGrad, normaliseGradSums } from "./norm";
export { maxPool, maxPoolGrad } from "./pool";
export { augment } from "./augment";
export {
  winograd, winogradFilter, winogradFilterBytes, winogradFilterGrad, winogradFilterTurned, winogradGradScratchBytes,
  winogradScratchBytes,
} from "./winograd";
export {
  winogradStrided, winogradStridedFilter, winogradStridedFilterBytes, winogradStridedFilterGrad,
  winogradStridedGradScratchBytes, winogradStridedInputGrad, winogradStridedScratchBytes,
} from "./winograd_strided";
export { infoNce, infoNceScratchBytes, packQueue, queuePanelBytes } from "./info_nce";
export { attention, attentionGrad, attentionGradScratchBytes, attentionScratchBytes } from "./attention";
export { embedTokens, embedTokensGrad } from "./embedding";
export { layerNorm, layerNormGrad } from "./layer_norm";
export { addBias, biasGrad } from "./linear";
export { patches } from "./patches";
