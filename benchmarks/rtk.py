"""Reconstructions by itk-rtk of data in the frames of :mod:`xrm_sims.geometry`, as whole pipelines.

RTK rotates its source about its own y axis. Our angle is pi - angle there with mirrored columns, and our (x, y, z) are
its (-z, x, y) up to sign, hence the transpositions. Lengths in mm. Offsets, shifts and roll are ignored.
"""

from __future__ import annotations

from typing import Any

import itk
import numpy as np
from itk import RTK as rtk  # noqa: N811

from benchmarks.recon_phantom import Images
from xrm_sims.geometry import ConeGeometry

RELAXATION = 0.3  # RTK's own default

VOLUME = itk.Image[itk.F, 3]


def peer(p: Images, geometry: ConeGeometry, sweeps: int) -> Images:
    """Return the volume (z, y, x) in 1/um of RTK's SART: Joseph forward, voxel-driven back projection, subsets of 1."""
    sart = rtk.SARTConeBeamReconstructionFilter[VOLUME, VOLUME].New()
    sart.SetNumberOfProjectionsPerSubset(1)
    sart.SetLambda(RELAXATION)
    sart.SetNumberOfIterations(sweeps)
    sart.SetEnforcePositivity(True)
    sart.SetInput(0, _start(geometry))
    sart.SetInput(1, _images(p, geometry))
    sart.SetGeometry(_scan(geometry))
    sart.SetForwardProjectionFilter(sart.ForwardProjectionType_FP_JOSEPH)
    sart.SetBackProjectionFilter(sart.BackProjectionType_BP_VOXELBASED)
    sart.SetDisableDisplacedDetectorFilter(True)
    return _volume(sart)


def peer_fdk(p: Images, geometry: ConeGeometry) -> Images:
    """Return the volume (z, y, x) in 1/um of RTK's FDK with a plain ramp and no truncation correction."""
    fdk = rtk.FDKConeBeamReconstructionFilter[VOLUME].New()
    fdk.SetInput(0, _start(geometry))
    fdk.SetInput(1, _images(p, geometry))
    fdk.SetGeometry(_scan(geometry))
    fdk.GetRampFilter().SetTruncationCorrection(0.0)
    fdk.GetRampFilter().SetHannCutFrequency(0.0)
    return _volume(fdk)


def peer_cg(p: Images, geometry: ConeGeometry, iterations: int) -> Images:
    """Return the volume (z, y, x) in 1/um of RTK's conjugate gradient on the normal equations, from zero."""
    cg = rtk.ConjugateGradientConeBeamReconstructionFilter[VOLUME].New()
    images = _images(p, geometry)
    weights = _images(np.ones(p.shape, np.float32), geometry)
    cg.SetInput(0, _start(geometry))
    cg.SetInput(1, images)
    cg.SetInputWeights(weights)
    cg.SetGeometry(_scan(geometry))
    cg.SetNumberOfIterations(iterations)
    cg.SetForwardProjectionFilter(cg.ForwardProjectionType_FP_JOSEPH)
    cg.SetBackProjectionFilter(cg.BackProjectionType_BP_JOSEPH)
    cg.SetDisableDisplacedDetectorFilter(True)
    return _volume(cg)


def _scan(geometry: ConeGeometry) -> Any:
    scan = rtk.ThreeDCircularProjectionGeometry.New()
    for angle in geometry.angles_deg:
        scan.AddProjection(geometry.source_object_mm, geometry.source_detector_mm, 180.0 - float(angle))
    return scan


def _images(p: Images, geometry: ConeGeometry) -> Any:
    (rows, columns), pixel = geometry.detector_shape, geometry.pixel_mm
    images = itk.image_from_array(np.ascontiguousarray(p[:, :, ::-1]))
    images.SetSpacing((pixel, pixel, 1.0))
    images.SetOrigin((-(columns - 1) / 2 * pixel, -(rows - 1) / 2 * pixel, 0.0))
    return images


def _start(geometry: ConeGeometry) -> Any:
    (nz, ny, nx), voxel = geometry.volume_shape, 1e-3 * geometry.voxel_um
    start = itk.image_from_array(np.zeros((nx, nz, ny), np.float32))
    start.SetSpacing((voxel, voxel, voxel))
    start.SetOrigin((-(ny - 1) / 2 * voxel, -(nz - 1) / 2 * voxel, -(nx - 1) / 2 * voxel))
    return start


def _volume(pipeline: Any) -> Images:
    pipeline.Update()
    return np.asarray(itk.array_from_image(pipeline.GetOutput()).transpose(1, 2, 0)) * np.float32(1e-3)
