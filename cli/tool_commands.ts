/** Commands that work on files and on this machine, without the service. */
import { Argument, type Command, Option } from "commander";
import { encoderNames, exportFormats } from "../src/schema/evaluation.ts";
import { presets } from "../src/schema/presets.ts";
import { benchPresets } from "./bench.ts";
import { addCommand, clientOf } from "./command.ts";
import { listDevices } from "./devices.ts";
import { planRun } from "./plan.ts";
import { importDataset, listUploaded, pushDataset, showDataset } from "./push.ts";
import { envOf } from "./settings.ts";
import { checkData, exportRun, importRun, listData, views } from "./tools.ts";

export function addToolCommands(program: Command): void {
  addCommand(program, {
    name: "views",
    does: "draw the views that a run trains on: a PNG of any images in any epochs",
    examples: ["views spec.yaml --image 0-7", "views spec.yaml --image 3,5 --epoch 0-4 --out crops.png"],
  })
    .argument("<spec>", "a pretrain spec, YAML or JSON; - for stdin")
    .requiredOption("--image <n>", "numbers of the dataset: 17 or 3,5 or 0-7")
    .option("--epoch <n>", "from 0: 3 or 0,100 or 0-4", "0")
    .option("--out <file>", "the PNG", "views.png")
    .action(async (file: string, options) => views(envOf(options), file, options));

  addCommand(program, {
    name: "plan",
    does: "estimate memory and time of a run on this machine; trains for some seconds to measure",
    examples: ["plan spec.yaml", "plan spec.yaml --threads 8 --json", "plan spec.yaml --memory"],
  })
    .argument("<spec>", "a pretrain spec, YAML or JSON; - for stdin")
    .option("--memory", "only what memory it would take on WASM, of a run that does not fit too")
    .action(async (file: string, options) => planRun(envOf(options), file, options));

  addCommand(program, {
    name: "devices",
    does: "list the devices of this machine, each with a self-test of some seconds",
    examples: ["devices", "devices --no-test --json"],
  })
    .option("--no-test", "only list them")
    .action(async (options) => listDevices(envOf(options), options));

  addCommand(program, {
    name: "bench",
    does: "how fast this machine trains the presets; needs no dataset",
    examples: ["bench", "bench small cifar --device wasm --threads 1"],
  })
    .addArgument(new Argument("[presets...]", "which").choices(Object.keys(presets)).default(["small"]))
    .action(async (names: string[], options) => benchPresets(envOf(options), names, options));

  const data = program.command("data").description("datasets: which are known, what one contains, uploads");
  addCommand(data, { name: "list", does: "datasets known by name", examples: ["list"] }).action((options) =>
    listData(envOf(options), options),
  );
  addCommand(data, {
    name: "check",
    does: "counts, classes, sizes, broken files, mean and deviation",
    examples: ["check fashion-mnist", "check photos/train --test photos/test --json"],
  })
    .argument("<source>", "fashion-mnist, cifar10, cifar100, a folder, an archive, ds_…, or a dataset spec as JSON")
    .option("--test <path>", "test images of a folder or archive")
    .action(async (source: string, options) => checkData(envOf(options), source, options));
  addCommand(data, {
    name: "push",
    does: "upload a folder or an archive to the service, or have it import a URL; prints the id that a spec's dataset takes",
    examples: [
      "push ./images",
      "push cells.zip --name cells",
      "push ./images --resume ds_…",
      "push https://data.example.org/cells.zip",
      "push s3://lab/cells.tar --sha256 9f86d081…",
    ],
  })
    .argument("<source>", "a folder, tar, tar.gz, tar.zst or zip, or a URL of one: https://, http:// or s3://")
    .option("--name <name>", "unset: the last part of the path or URL")
    .option("--sha256 <digits>", "of the file at a URL; another file is refused")
    .option("--resume <id>", "continue an upload that was interrupted")
    .action(async (source: string, options) => {
      const push = /^(https?|s3):\/\//i.test(source) ? importDataset : pushDataset;
      return push(clientOf(envOf(options)), source, options);
    });
  addCommand(data, {
    name: "uploaded",
    does: "datasets that were uploaded to the service",
    examples: ["uploaded"],
  }).action(async (options) => listUploaded(clientOf(envOf(options)), options));
  addCommand(data, {
    name: "show",
    does: "what a worker finds in an uploaded dataset: as `data check`, computed once",
    examples: ["show ds_…", "show ds_… --json"],
  })
    .argument("<id>", "its id")
    .action(async (id: string, options) => showDataset(clientOf(envOf(options)), id, options));
  addCommand(data, { name: "rm", does: "delete an uploaded dataset that no job needs", examples: ["rm ds_…"] })
    .argument("<id>", "its id")
    .action(async (id: string, options) => clientOf(envOf(options)).removeDataset(id));

  addCommand(program, {
    name: "export",
    does: "write an encoder for PyTorch or ONNX",
    examples: ["export run_…", "export run_… --format onnx --encoder average --step 2718 --out encoder.onnx"],
  })
    .argument("<id>", "a pretrain job")
    .addOption(
      new Option("--format <name>", "torchvision, timm, moco, openclip: safetensors")
        .choices(exportFormats)
        .default("torchvision"),
    )
    .addOption(
      new Option("--encoder <name>", "the trained network or its moving average; query and key are MoCo's names")
        .choices(encoderNames)
        .default("trained"),
    )
    .option("--step <n>", "step of the checkpoint; unset: the newest")
    .option("--out <path>", "the file, or a folder for it; unset: named after the run. Of several files the main one")
    .action((id: string, options) => exportRun(envOf(options), id, options));

  addCommand(program, {
    name: "import",
    does: "import a checkpoint of facebookresearch/moco or moco-v3, or weights of torchvision or timm, as a finished run; prints its id",
    examples: [
      "import moco_v2_800ep_pretrain.pth.tar --dataset photos/train --test photos/test",
      "import vit-s-300ep.pth.tar --dataset photos/train --test photos/test",
      "import vit_b_16.pth --dataset photos/train --test photos/test --size 384 --interpolate",
    ],
  })
    .argument("<file>", "a file of torch.save or safetensors; what it holds shows by its tensors' names")
    .requiredOption("--dataset <source>", "images to evaluate it on: as for `data check`")
    .option("--test <path>", "test images of a folder or tar")
    .option("--size <pixels>", "side of its input images", "224")
    .option("--heads <n>", "of a ViT; unset: those of the named ViT of its width; weights alone of width 384 need it")
    .option(
      "--interpolate",
      "resize a ViT's positions to images of --size, as timm does; unset: another size is refused",
    )
    .option("--name <name>", "unset: the file's")
    .action(async (file: string, options) => importRun(envOf(options), file, options));
}
