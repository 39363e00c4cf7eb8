// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "MobileCLIPSample",
    platforms: [.iOS(.v16), .macOS(.v13)],
    products: [.library(name: "MobileCLIP", targets: ["MobileCLIP"])],
    targets: [
        .target(name: "MobileCLIP"),
        .executableTarget(name: "check", dependencies: ["MobileCLIP"]),
    ]
)
