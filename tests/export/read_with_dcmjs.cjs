// Prints a DICOM object as dcmjs reads it, which viewers in browsers such as OHIF use: JSON.
const { readFileSync } = require("node:fs");
const { DicomMessage, DicomMetaDictionary, BitArray } = require("dcmjs").data;

const bytes = readFileSync(process.argv[2]);
const message = DicomMessage.readFile(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
const data = DicomMetaDictionary.naturalizeDataset(message.dict);

/** Pixels of all frames, one after the other. */
function values() {
  if (data.FloatPixelData) return new Float32Array(data.FloatPixelData[0]);
  const [pixels] = data.PixelData;
  return data.SegmentationType === "BINARY" ? BitArray.unpack(pixels).map((bit) => bit && 1) : new Uint8Array(pixels);
}

/** UID of an image, and the number of its frame if that is stated. */
const sourceOf = ({ ReferencedSOPInstanceUID: uid, ReferencedFrameNumber: number }) => (number ? `${uid} ${number}` : uid);

/** Of each frame the image that it is about, where it lies, and its pixels. */
function frames() {
  const size = data.Rows * data.Columns, pixels = values();
  return [data.PerFrameFunctionalGroupsSequence].flat().map((group, n) => ({
    source: sourceOf(group.DerivationImageSequence[0].SourceImageSequence[0]),
    place: group.PlanePositionSequence[0].ImagePositionPatient,
    pixels: [...pixels.subarray(n * size, (n + 1) * size)],
  }));
}

const named = (item, code) => item.ConceptNameCodeSequence?.[0].CodeValue === code;

/** Of each group of measurements (TID 1500) its numbers, and the images that they are from. */
function measurements() {
  const within = (items, code) => [items].flat().filter((item) => named(item, code));
  const [all] = within(data.ContentSequence, "126010");
  return within(all.ContentSequence, "125007").map(({ ContentSequence: items }) => ({
    numbers: items.filter((item) => item.ValueType === "NUM").map((item) => item.MeasuredValueSequence[0].NumericValue),
    images: items.filter((item) => item.ValueType === "IMAGE").map((item) => sourceOf(item.ReferencedSOPSequence[0])),
  }));
}

const found = data.ContentSequence ? { groups: measurements() } : { frames: frames() };
console.log(JSON.stringify({ ...found, study: data.StudyInstanceUID, patient: data.PatientID }));
