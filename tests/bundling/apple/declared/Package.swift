// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "Declared",
    products: [.library(name: "Declared", type: .dynamic, targets: ["CoreVideo", "ImageIO", "Vision"])],
    targets: [
        .target(name: "CoreGraphics", path: "CoreGraphics"),
        .target(name: "CoreVideo", dependencies: ["CoreGraphics"], path: "CoreVideo"),
        .target(name: "ImageIO", dependencies: ["CoreGraphics"], path: "ImageIO"),
        .target(name: "CoreML", dependencies: ["CoreVideo"], path: "CoreML"),
        .target(name: "Vision", dependencies: ["CoreML", "ImageIO"], path: "Vision"),
    ]
)
