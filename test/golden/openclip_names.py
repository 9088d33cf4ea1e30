"""Names and shapes of OpenCLIP's models, as of its commit 89fb801 with timm 1.0.29: test/golden/openclip_names.json. Run where both are:

    python3 test/golden/openclip_names.py
"""
import json, os
import open_clip

text = dict(context_length=12, vocab_size=259, width=24, heads=3, layers=2, pad_id=0, pool_type="eos", eos_id=2)
timm = dict(image_size=32, timm_proj="linear")
small = dict(img_size=32, patch_size=8, embed_dim=24, depth=2)
vision = {
    "vit": dict(timm, timm_model_name="vit_tiny_patch16_224", timm_model_kwargs=small, timm_pool="token"),
    "vit-mean": dict(timm, timm_model_name="vit_tiny_patch16_224", timm_pool="avg",
                     timm_model_kwargs=dict(small, class_token=False, global_pool="avg", fc_norm=False)),
    "resnet10": dict(timm, timm_model_name="resnet18", timm_model_kwargs=dict(layers=[1, 1, 1, 1]), timm_pool="avg"),
}
out = {}
for name, config in vision.items():
    of = dict(embed_dim=16, vision_cfg=config, text_cfg=text, **(dict(init_logit_bias=-10) if name == "resnet10" else {}))
    names = {n: list(t.shape) for n, t in open_clip.CLIP(**of).state_dict().items()}
    out[name] = dict(model_cfg=of, names=names)
with open(os.path.join(os.path.dirname(__file__), "openclip_names.json"), "w") as file:
    file.write("{\n" + ",\n".join(f'"{name}": {json.dumps(of)}' for name, of in out.items()) + "\n}\n")
